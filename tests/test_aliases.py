"""Configs, command lines and checkpoints of revision 90bf1b4, stored in tests/assets/old."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lightning_n2m.aliases import upgrade_arguments, upgrade_checkpoint, upgrade_config
from lightning_n2m.callbacks.checkpoint import AtomicCheckpointIO
from lightning_n2m.cli.lightning_cli import run_cli
from lightning_n2m.errors import InputError
from lightning_n2m.stages.bundle import load_stage, read_config, save_stage
from tests.paths import ASSETS, ROOT
from tests.stages.test_bundle import write_run

OLD = ASSETS / "old"


def parsed(*arguments: str) -> dict[str, Any]:
    return run_cli(list(arguments), parse_only=True).config_dump  # type: ignore[no-any-return]


def test_an_old_recipe_is_read_with_the_new_names() -> None:
    config = parsed("fit", "-c", str(OLD / "recipe.yaml"))
    model = config["model"]["init_args"]
    assert model["network"]["init_args"]["refiner_channels"] == 32
    assert (model["sampling"]["step_schedule"], model["sampling"]["num_steps"]) == ("uniform", 50)
    samples = config["samples"]
    assert (samples["clips"], samples["every_n_validations"], samples["num_steps"]) == (2, 3, 50)
    assert "listen" not in config


def test_an_old_cascade_config_names_the_moved_evaluation_set() -> None:
    config = parsed("predict", "-c", str(OLD / "cascade.yaml"), "--data.prompt=x")
    evaluation_set = config["data"]["init_args"]["evaluation_set"]
    assert evaluation_set["class_path"] == "lightning_n2m.evaluation.evaluation_sets.Starter"


def test_an_old_command_line_sets_the_new_options() -> None:
    config = parsed(
        "test",
        f"--config={OLD / 'cascade.yaml'}",
        "--model.generator.total=7",
        "--model.generator.steps",
        "uniform",
        "--model.init_args.generator.reverse=true",
        "--model.refiner.level=0.25",
        "--model.refiner.agreement=3",
        '--model.super_resolution={"folder": "x", "total": 9}',
        "--evaluation.alone=5",
        "--evaluation.heard",  # prose: allow
        "build/cache",
        "--evaluation.joint=[pretrained/mulan]",
        "--evaluation.summary=summary.json",
        "--listen.every=4",
        "--listen.scales=[1,5]",
        "--failure.factor=9",
        "--data.evaluation_set",
        "lightning_n2m.data.evaluation_sets.Starter",
    )
    generator, refiner = (config["model"]["init_args"][name] for name in ("generator", "refiner"))
    assert (generator["num_steps"], generator["step_schedule"]) == (7, "uniform")
    assert generator["reverse_schedule"] is True
    assert (refiner["conditioning_noise"], refiner["consistency_iterations"]) == (0.25, 3)
    assert config["model"]["init_args"]["super_resolution"]["num_steps"] == 9
    evaluation = config["evaluation"]
    assert (evaluation["refiner_clips"], evaluation["cache"]) == (5, "build/cache")
    assert (evaluation["joint_models"], evaluation["merge_into"]) == (["pretrained/mulan"], "summary.json")
    assert (config["samples"]["every_n_validations"], config["samples"]["guidance_scales"]) == (4, [1, 5])
    assert config["divergence"]["factor"] == 9


def test_an_old_bundle_loads_with_the_weights_of_today(tmp_path: Path) -> None:
    # The layout of today's network has keys that the old config does not know.
    layout = ("resample_kernel: stride_multiple", "equal_phases: true", "aligned_before_blocks: true")
    added = "".join(f"\n        {key}" for key in layout)
    config = (OLD / "bundle.yaml").read_text()
    (tmp_path / "config.yaml").write_text(
        config.replace("augmentation_level: true", f"augmentation_level: true{added}")
    )
    shutil.copy(ROOT / "pretrained/spectrogram_vocoder/weights.safetensors", tmp_path)
    old, new = load_stage(tmp_path), load_stage(ROOT / "pretrained/spectrogram_vocoder")
    assert old.sampling.num_steps == 5
    assert old.sampling.start_time == 0.15
    assert old.sampling.consistency_iterations == 10
    states = zip(old.network.state_dict().items(), new.network.state_dict().items(), strict=True)
    assert all(name == other and torch.equal(a, b) for (name, a), (other, b) in states)


def test_export_writes_the_new_names(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", seed=1, sampling={"num_steps": 9, "start_time": 0.5})
    config = run / "config.yaml"
    old = config.read_text().replace("num_steps:", "total:").replace("start_time:", "start:")
    config.write_text(old)
    text = (save_stage(run, tmp_path / "bundle") / "config.yaml").read_text()
    assert "num_steps: 9" in text and "start_time: 0.5" in text
    assert "total:" not in text and "start:" not in text
    assert read_config(run) == read_config(tmp_path / "bundle")


def test_the_callbacks_of_an_old_checkpoint_keep_their_state(tmp_path: Path) -> None:
    states = {"Curves": {"a": 1}, "FailureWatch": {"b": 2}, "Listen": {"c": 3}, "Checkpoint": {"d": 4}}
    torch.save({"callbacks": states, "state_dict": {}}, tmp_path / "old.ckpt")
    loaded = AtomicCheckpointIO().load_checkpoint(
        tmp_path / "old.ckpt", map_location="cpu", weights_only=True
    )
    expected = {"TrainMetrics": {"a": 1}, "DivergenceGuard": {"b": 2}, "SampleLogger": {"c": 3}}
    assert loaded["callbacks"] == expected | {"Checkpoint": {"d": 4}}
    assert upgrade_checkpoint({"callbacks": None}) == {"callbacks": None}


def test_an_old_and_a_new_name_together_are_refused() -> None:
    with pytest.raises(InputError, match="both 'total' and 'num_steps'"):
        upgrade_config({"model": {"init_args": {"sampling": {"total": 3, "num_steps": 4}}}})


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/**/*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_of_today_have_no_old_names(path: Path) -> None:
    config = yaml.safe_load(path.read_text())
    assert upgrade_config(config) == config


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "--data.prompt", "total steps: {every: 3}", "--output.folder=listen"],
        ["fit", "--trainer.max_steps=3", "--ckpt_path", "last"],
        ["export", "runs/listen", "out", "--best"],
    ],
)
def test_other_arguments_stay_as_they_are(arguments: list[str]) -> None:
    assert upgrade_arguments(arguments) == arguments
