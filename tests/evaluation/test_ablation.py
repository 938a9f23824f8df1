from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.ablation import ablate, variations
from lightning_n2m.evaluation.metric import MetricValue, write_metrics
from tests.paths import ROOT


@pytest.fixture
def config(monkeypatch):
    monkeypatch.chdir(ROOT)  # the configs name the stages' folders from here
    return "configs/cascade/waveform.yaml"


def test_every_setting_is_varied_alone():
    found = variations("waveform", (1, 5), (10, 20), guided_refiner=True)
    groups = [v.group for v in found]
    assert groups.count("generator guidance") == groups.count("refiner guidance") == 2
    assert (groups.count("refiner schedule"), groups.count("generator sampler")) == (3, 4)
    assert len({v.folder for v in found}) == len(found)
    assert not any(v.group == "refiner guidance" for v in variations("spectrogram", (1,), (10,), False))


@pytest.mark.parametrize(("route", "refiner"), [("waveform", 800), ("spectrogram", 100)])
def test_the_paper_takes_all_its_steps(route, refiner):
    config, paper = (v for v in variations(route, (), (), True) if v.group == "sampling")
    assert not [option for option in config.options if option.startswith("--model")]
    for stage, total in (("generator", 1000), ("refiner", refiner)):
        assert f"--model.{stage}.num_steps={total}" in paper.options
        assert f"--model.{stage}.method=ancestral" in paper.options


@pytest.mark.parametrize("route", ["waveform", "spectrogram"])
def test_front_heavy_is_turned_into_back_heavy(route):
    """Half of the steps of a front-heavy list lie near the data, of a back-heavy one near the noise."""
    for stage in ("generator", "refiner"):
        medians = {}
        for v in variations(route, (), (), True):
            if v.group == f"{stage} schedule":
                options = dict(o.removeprefix(f"--model.{stage}.").split("=") for o in v.options[:2])
                times = step_times(options["step_schedule"], 100, options["reverse_schedule"] == "true")
                medians[v.value] = float(times[50])
        assert medians["uniform"] == pytest.approx(0.5)
        assert medians["front"] < 0.25
        assert medians["back"] > 0.75


def test_what_is_there_is_not_measured_again(config, tmp_path):
    calls = []

    def test(args):
        calls.append(args)
        place = Path(next(a for a in args if a.startswith("--evaluation.folder=")).partition("=")[2])
        place.mkdir(parents=True)
        write_metrics(place / "evaluation.json", [
            MetricValue("waveform: FAD musicnn-MTT", 3.0, 1, 9, False, 4, "j", "c"),
            MetricValue("waveform: text-audio similarity, tags", 0.2, 0, 1, True, 4, "j", "c"),
        ])  # fmt: skip
        if len(calls) == 2:
            raise KeyboardInterrupt

    args = ["-c", config, "--output", str(tmp_path), "--groups", "generator steps", "--totals", "5,7,9"]
    with pytest.raises(KeyboardInterrupt):
        ablate([*args, "--data.evaluation_set.clips=4"], test)
    ablate([*args, "--data.evaluation_set.clips=4"], test)
    assert len(calls) == 3
    assert all("--data.evaluation_set.clips=4" in call for call in calls)
    assert [next(a for a in call if ".num_steps=" in a) for call in calls] == [
        f"--model.generator.num_steps={n}" for n in (5, 7, 9)
    ]
    rows = json.loads((tmp_path / "ablation.json").read_text())
    assert [row["value"] for row in rows] == ["5", "7", "9"]
    assert (tmp_path / "ablation.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("args", "words"),
    [
        ([], "required"),
        (["-c", "nothing.yaml", "--output", "x"], "no config of a cascade"),
        (
            ["-c", "configs/cascade/waveform.yaml", "--output", "x", "--groups", "colour"],
            "no ablation 'colour'",
        ),
        (["-c", "configs/cascade/waveform.yaml", "--output", "x", "--totals", "many"], "invalid"),
    ],
)
def test_wrong_options_are_told(config, args, words):
    with pytest.raises(InputError, match=words):
        ablate(args, lambda given: None)
