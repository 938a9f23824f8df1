from __future__ import annotations

import json
import math

import pytest
import torch

from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.metric import MetricValue, merge_metrics, read_metrics, write_metrics
from lightning_n2m.evaluation.stft import stft_distance


def figure(name, value=1.0):
    return MetricValue(name, value, 0.0, 4.0, True, 7, "a judge", "a command")


def test_figures_come_back_as_they_were(tmp_path):
    figures = [figure("one", 0.123456789), figure("two", math.nan)]
    write_metrics(tmp_path / "figures.json", figures)
    assert json.loads((tmp_path / "figures.json").read_text())[1]["value"] is None
    one, two = read_metrics(tmp_path / "figures.json")
    assert one == figure("one", 0.12346)
    assert math.isnan(two.value)
    assert figure("x", 1.0).share() == 0.25


def test_merging_replaces_by_name(tmp_path):
    path = tmp_path / "new" / "figures.json"
    merge_metrics(path, [figure("a"), figure("b")])
    merge_metrics(path, [figure("b", 2.0), figure("c")])
    assert [(f.name, f.value) for f in read_metrics(path)] == [("a", 1.0), ("b", 2.0), ("c", 1.0)]


@pytest.mark.parametrize("text", ["{}", "[1]", '[{"name": "x"}]', "no json"])
def test_what_is_no_list_of_figures_is_told(tmp_path, text):
    path = tmp_path / "figures.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"figures\.json is no list of figures"):
        read_metrics(path)


def test_stft_distance_grows_with_damage_and_forgives_phase():
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(16_000) / 16_000
    clip = sum(torch.sin(2 * torch.pi * f * time + f) for f in (220, 440, 1330))[None, None] / 4
    noise = torch.randn(clip.shape, generator=generator)
    ladder = [float(stft_distance(clip + level * noise, clip)) for level in (0, 0.01, 0.1, 1)]
    assert ladder[0] == 0
    assert ladder == sorted(ladder)
    # The same tones with other phases stay nearer than a little noise.
    turned = sum(torch.sin(2 * torch.pi * f * time) for f in (220, 440, 1330))[None, None] / 4
    assert float(stft_distance(turned, clip)) < ladder[1]
