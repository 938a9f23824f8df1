from __future__ import annotations

import json
import math

import pytest

from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.metric import MetricValue, merge_metrics, read_metrics, write_metrics


def metric(name, value=1.0):
    return MetricValue(name, value, 0.0, 4.0, True, 7, "an evaluator", "a command")


def test_metrics_survive_a_file(tmp_path):
    metrics = [metric("one", 0.123456789), metric("two", math.nan)]
    write_metrics(tmp_path / "metrics.json", metrics)
    assert json.loads((tmp_path / "metrics.json").read_text())[1]["value"] is None
    one, two = read_metrics(tmp_path / "metrics.json")
    assert one == metric("one", 0.12346)
    assert math.isnan(two.value)
    assert metric("x", 1.0).share() == 0.25


def test_merging_replaces_by_name(tmp_path):
    path = tmp_path / "new" / "metrics.json"
    merge_metrics(path, [metric("a"), metric("b")])
    merge_metrics(path, [metric("b", 2.0), metric("c")])
    assert [(f.name, f.value) for f in read_metrics(path)] == [("a", 1.0), ("b", 2.0), ("c", 1.0)]


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"name": "x"}]', "no json", "", "[" * 100_000, "\x00"])
def test_a_damaged_file_is_reported_in_one_line(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"metrics\.json is not a list of metric values"):
        read_metrics(path)


def test_keys_and_names_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "metrics.json"
    row = {
        "name": "waveform: FAD aisfx, real + noise 20 dB", "value": 114.2, "floor": 15.7, "ceiling": 472.7,
        "higher_is_better": False, "n": 1152, "judge": "aisfx", "command": "c",  # prose: allow
    }  # fmt: skip
    path.write_text(json.dumps([row]))
    expected = MetricValue(
        "waveform: FAD aisfx, reference + noise 20 dB", 114.2, 15.7, 472.7, False, 1152, "aisfx", "c"
    )
    assert read_metrics(path) == [expected]
    # A new value replaces the one under its old name, and new keys are written.
    merge_metrics(path, [metric("waveform: FAD aisfx, reference + noise 20 dB", 3.0)])
    (row,) = json.loads(path.read_text())
    assert (row["value"], row["lower_bound"], row["evaluator"]) == (3.0, 0.0, "an evaluator")


@pytest.mark.parametrize(
    ("key", "value"), [("value", "much"), ("n", 1.5), ("name", None), ("lower_bound", [1])]
)
def test_fields_of_another_type_are_refused(tmp_path, key, value):
    path = tmp_path / "metrics.json"
    write_metrics(path, [metric("a")])
    (row,) = json.loads(path.read_text())
    path.write_text(json.dumps([row | {key: value}]))
    with pytest.raises(InputError, match=f"'{key}'"):
        read_metrics(path)
