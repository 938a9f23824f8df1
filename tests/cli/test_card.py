"""Cards in the form of model hubs, read back by huggingface_hub."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from lightning_n2m.cli.card import CardFacts, has_front_matter, write_card
from lightning_n2m.cli.export import export
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.metric import MetricValue, write_metrics
from tests.paths import ROOT
from tests.stages.test_bundle import CONFIG, write_run


def metric(name: str, value: float = 1.5) -> MetricValue:
    return MetricValue(name, value, 0.5, float("nan"), False, 12, "an evaluator", "n2m test -c x.yaml")


def test_export_writes_a_card_that_the_hub_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", seed=4)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(config | {"weights": "hf://org/base/sub@v1"}))
    rows = [
        metric("spectrogram: FAD aisfx"),
        metric("spectrogram: SuperResolution on ground-truth input, FAD aisfx", 2.0),
        metric("waveform: SuperResolution on ground-truth input, FAD aisfx", 2.0),
        metric("waveform: SuperResolution on ground-truth input, STFT distance", float("nan")),
    ]
    write_metrics(tmp_path / "evaluation.json", rows)
    options = ["--card", "--license", "cc-by-sa-3.0", "--dataset", "org/data", "--dataset", "more: data"]
    export([str(run), str(tmp_path / "sr"), *options, "--evaluation", str(tmp_path / "evaluation.json")])
    data = ModelCard.load(tmp_path / "sr/README.md").data
    assert data.license == "cc-by-sa-3.0" and data.base_model == "org/base"
    assert data.datasets == ["org/data", "more: data"]
    assert data.pipeline_tag == "text-to-audio" and {"text-to-music", "super-resolution"} <= set(data.tags)
    assert data.eval_results is not None
    (result,) = data.eval_results
    assert result.metric_name == "waveform: SuperResolution on ground-truth input, FAD aisfx"
    assert (result.metric_value, result.dataset_name) == (2.0, "Starter")
    assert result.metric_args == {
        "n": 12,
        "evaluator": "an evaluator",
        "higher_is_better": False,
        "lower_bound": 0.5,
    }
    text = (tmp_path / "sr/README.md").read_text()
    assert "configs/cascade/spectrogram.yaml --model.super_resolution.folder" in text
    assert "README.md is its card; 'n2m push'" in capsys.readouterr().out


def test_the_metrics_of_a_generator_are_those_of_its_route() -> None:
    from lightning_n2m.cli.card import _metrics
    from lightning_n2m.evaluation.metric import read_metrics

    rows = read_metrics(ROOT / "pretrained/evaluation.json")
    names = [row.name for row in _metrics("WaveformGenerator", rows)]
    assert "waveform: FAD aisfx" in names and all(name.startswith("waveform: ") for name in names)
    assert not any("reference +" in name or "ground-truth" in name for name in names)
    vocoder = [row.name for row in _metrics("SpectrogramVocoder", rows)]
    assert len(vocoder) == 6 and all("SpectrogramVocoder on ground-truth input" in name for name in vocoder)


def test_the_text_of_an_existing_card_stays(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n\n---\nkept\n")
    write_card(tmp_path, CONFIG, CardFacts("cc0-1.0"))
    text = (tmp_path / "README.md").read_text()
    assert text.endswith("---\n# Mine\n\n---\nkept\n") and "license: cc0-1.0" in text and "mit" not in text
    write_card(tmp_path, CONFIG, CardFacts("cc0-1.0"))
    assert (tmp_path / "README.md").read_text() == text
    assert has_front_matter(tmp_path / "README.md") and not has_front_matter(ROOT / "README.md")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--card", "--license", "My Licence"], "--license My Licence: give an identifier"),
        (["--card", "--base_model", "name"], "give hf://ORG/NAME"),
        (["--card", "--evaluation", "nothing.json"], "nothing.json is not a list of metric values"),
        (["--dataset", "x"], "describe a card; add --card"),
    ],
)
def test_wrong_facts_are_refused_before_anything_is_written(
    tmp_path: Path, options: list[str], message: str
) -> None:
    run = write_run(tmp_path / "run", seed=4)
    with pytest.raises(InputError, match=message):
        export([str(run), str(tmp_path / "bundle"), *options])
    assert not (tmp_path / "bundle").exists()


def test_front_matter_cannot_be_broken_by_text(tmp_path: Path) -> None:
    export([str(write_run(tmp_path / "run", seed=4)), str(tmp_path / "bundle")])
    hostile = "x\n---\nlicense: mit\n# \x1b[31m"
    write_card(tmp_path / "bundle", CONFIG, CardFacts(datasets=[hostile]))
    data = ModelCard.load(tmp_path / "bundle/README.md").data
    assert data.license == "unknown" and len(data.datasets) == 1
