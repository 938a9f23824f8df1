"""Every YAML in configs/ builds what it describes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from lightning_n2m.cascade import Cascade
from lightning_n2m.cli.main import main
from lightning_n2m.mulan.bundle import build_towers
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.stages.bundle import read_config
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.stages.teacher import check_teacher
from tests.paths import ROOT

CONFIGS = ROOT / "configs"
RECIPES = sorted((*CONFIGS.glob("paper/*.yaml"), *CONFIGS.glob("starter/*.yaml")))
STAGES = [path for path in RECIPES if path.stem != "mulan"]
MILLIONS = {
    "waveform_generator": 724,
    "waveform_cascader": 487,
    "spectrogram_generator": 745,
    "spectrogram_vocoder": 25.7,
    "super_resolution": 81,
}


def named(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def test_there_is_a_recipe_for_each_stage() -> None:
    assert {named(path) for path in RECIPES if not path.stem.endswith("_few")} == {
        f"{kind}/{name}" for kind in ("paper", "starter") for name in (*MILLIONS, "mulan")
    } | {"starter/spectrogram_generator_edit"}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("starter/*_few.yaml")), ids=named)
def test_a_student_has_the_network_of_the_teacher_that_comes_with_the_project(path: Path) -> None:
    """And one more input, so that it starts as its teacher."""
    name = path.stem.removesuffix("_few")
    with torch.device("meta"):
        student = build_stage(yaml.safe_load(path.read_text())["model"])
        teacher = build_stage(read_config(ROOT / "pretrained" / name))
    assert student.distillation is not None
    check_teacher(student, teacher, student.distillation)
    shapes, other = (
        {key: tensor.shape for key, tensor in stage.network.state_dict().items()}
        for stage in (student, teacher)
    )
    added = {"step.linear.weight", "step.linear.bias"}
    assert {key: shape for key, shape in shapes.items() if key not in added} == other
    own, its = (
        [getattr(up, "equal_phases", False) for up in stage.network.ups] for stage in (student, teacher)
    )
    assert own == its and student.network.aligned_before_blocks == teacher.network.aligned_before_blocks


@pytest.mark.parametrize("path", STAGES, ids=named)
def test_a_recipe_builds_its_stage_and_evaluates_it(path: Path) -> None:
    """Shapes on the meta device: what the network returns is what the target is."""
    with torch.device("meta"):
        stage = build_stage(yaml.safe_load(path.read_text())["model"])
        length = round(stage.seconds * stage.output_rate)
        x = torch.empty(2, stage.network.channels, length)
        stacked = stage.network.entry.in_channels - stage.network.channels
        conditions = Conditions(stacked=torch.empty(2, stacked, length) if stacked else None)
        assert stage.network(x, torch.empty(2), conditions).shape == x.shape
    sampling = stage.sampling
    assert len(sampling.times()) > 1


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*/mulan.yaml")), ids=named)
def test_both_towers_of_the_joint_model_have_the_same_width(path: Path) -> None:
    with torch.device("meta"):
        towers = build_towers(yaml.safe_load(path.read_text())["model"])
        audio = torch.empty(
            2, towers.audio.feature_size or 1, *(() if towers.audio.feature_size else (80, 1000))
        )
        text = torch.empty(2, towers.text.project[0].normalized_shape[0])
        assert towers.audio_vectors(audio).shape == towers.text(text).shape == (2, 128)


@pytest.mark.parametrize("name", MILLIONS)
def test_the_paper_recipes_have_the_papers_size(name: str) -> None:
    config = yaml.safe_load((CONFIGS / "paper" / f"{name}.yaml").read_text())["model"]
    with torch.device("meta"):
        stage = build_stage(config)
    millions = sum(p.numel() for p in stage.network.parameters()) / 1e6
    assert millions == pytest.approx(MILLIONS[name], rel=0.08)


@pytest.mark.parametrize("path", [path for path in RECIPES if not path.stem.endswith("_few")], ids=named)
@pytest.mark.parametrize("overlay", sorted(CONFIGS.glob("trainer/*.yaml")), ids=lambda path: path.stem)
def test_the_command_line_takes_every_recipe_under_every_overlay(
    path: Path, overlay: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fit", f"--config={path}", f"--config={overlay}", "--data.shards=anywhere", "--print_config"])
    assert stop.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["trainer"]["accelerator"] == yaml.safe_load(overlay.read_text())["trainer"]["accelerator"]


@pytest.mark.parametrize("overlay", sorted(CONFIGS.glob("conditions/*.yaml")), ids=lambda path: path.stem)
def test_generators_take_the_overlays_of_conditions(overlay: Path) -> None:
    wanted = yaml.safe_load(overlay.read_text())["model"]["init_args"]["network"]["init_args"]["numbers"]
    for name in ("starter/spectrogram_generator", "paper/waveform_generator"):
        config = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())["model"]
        config["init_args"]["network"]["init_args"]["numbers"] = wanted
        with torch.device("meta"):
            assert build_stage(config).network.number_names == tuple(wanted)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("cascade/*.yaml")), ids=named)
def test_the_cascades_load_the_weights_that_come_with_the_project(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Cascade, "model")
    cascade = parser.instantiate(
        parser.parse_object({"model": yaml.safe_load(path.read_text())["model"]})
    ).model
    assert cascade.sample_rate == 24_000
    assert len(cascade.stages) == 3
