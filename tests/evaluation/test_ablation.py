from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.ablation import ablate, variations
from lightning_n2m.evaluation.metric import MetricValue, write_metrics
from tests.paths import ROOT


@pytest.fixture
def config(monkeypatch):
    monkeypatch.chdir(ROOT)  # the configs name the stages' folders from here
    return "configs/cascade/waveform.yaml"


def test_one_setting_is_varied_at_a_time():
    points = variations("waveform", (1, 5), (10, 20), guided_refiner=True)
    groups = [v.group for v in points]
    assert groups.count("generator guidance") == groups.count("refiner guidance") == 2
    assert (groups.count("refiner schedule"), groups.count("generator sampler")) == (3, 4)
    assert len({v.folder for v in points}) == len(points)
    assert not any(v.group == "refiner guidance" for v in variations("spectrogram", (1,), (10,), False))


@pytest.mark.parametrize("route", ["waveform", "spectrogram"])
def test_the_paper_row_samples_as_the_recipes_of_the_paper_do(route):
    """Steps, step list, gamma and guidance equal those of configs/paper (tables 3 and 7)."""
    config, paper = (v for v in variations(route, (), (), True) if v.group == "sampling")
    assert not [option for option in config.options if option.startswith("--model")]
    refiner = {"waveform": "waveform_cascader", "spectrogram": "spectrogram_vocoder"}[route]
    for stage, recipe in (("generator", f"{route}_generator"), ("refiner", refiner)):
        prefix = f"--model.{stage}."
        options = dict(o.removeprefix(prefix).split("=") for o in paper.options if o.startswith(prefix))
        text = (ROOT / "configs" / "paper" / f"{recipe}.yaml").read_text(encoding="utf-8")
        sampling = yaml.safe_load(text)["model"]["init_args"]["sampling"]
        scale = sampling.get("guidance", {}).get("scale")
        assert options.pop("guidance", None) == (None if scale is None else f"{scale:g}")
        assert options == {
            "step_schedule": sampling["step_schedule"],
            "num_steps": str(sampling["num_steps"]),
            "gamma": f"{sampling['gamma']:g}",
            "reverse_schedule": "false",
            "method": "ancestral",
        }


@pytest.mark.parametrize("route", ["waveform", "spectrogram"])
def test_front_heavy_reversed_is_back_heavy(route):
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


def test_finished_variations_are_not_run_again(config, tmp_path):
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
    assert all("--data.evaluation_set.for_choices=true" in call for call in calls), "never the test prompts"
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
        (["-c", "nothing.yaml", "--output", "x"], "not a config of a cascade"),
        (
            ["-c", "configs/cascade/waveform.yaml", "--output", "x", "--groups", "colour"],
            "no ablation 'colour'",
        ),
        (["-c", "configs/cascade/waveform.yaml", "--output", "x", "--totals", "many"], "invalid"),
    ],
)
def test_wrong_options_are_reported(config, args, words):
    with pytest.raises(InputError, match=words):
        ablate(args, lambda given: None)


def test_intervals_and_autoguidance_of_the_generator():
    points = variations("spectrogram", (2, 3), (), False, intervals=[(0.1, 0.8)], weak="early")
    (interval,) = (v for v in points if v.group == "generator interval")
    assert interval.options[0] == "--model.generator.guidance_interval=[0.1,0.8]"
    weak = [v for v in points if v.group == "generator autoguidance"]
    assert [v.options[:2] for v in weak] == [
        ("--model.generator.weak=early", f"--model.generator.guidance={scale}") for scale in (2, 3)
    ]
    assert len({v.folder for v in points}) == len(points)
