"""The two towers train by the same command line as the stages, and come back from disk."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lightning_n2m.cli.main import main
from lightning_n2m.mulan.audio_tower import LogMelTower
from lightning_n2m.mulan.loading import load_joint
from tests.integration.curves import scalars
from tests.mulan.conftest import ROOT, tiny


def test_the_loss_falls_below_that_of_guessing(run: Path) -> None:
    losses = list(scalars(run, "train/loss").values())
    assert sum(losses[-5:]) / 5 < 0.8 * math.log(8)


def test_the_checkpoint_holds_only_what_was_trained(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.rpartition(".")[0] for name in state} <= {
        "", *(f"{tower}.project.{i}" for tower in ("audio", "text") for i in (0, 2, 5))
    }  # fmt: skip


def test_a_resumed_run_repeats_the_uninterrupted_one(
    run: Path, shards: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *tiny(tmp_path, shards, features, "--trainer.max_steps=20")])
    main(["fit", *tiny(tmp_path, shards, features, "--ckpt_path=last")])
    assert "Last validation: recall_10_text_to_audio " in capsys.readouterr().err
    whole, resumed = scalars(run, "train/loss"), scalars(tmp_path, "train/loss")
    assert resumed == whole
    assert {step for step in resumed if step >= 20}


def test_an_exported_model_embeds_like_the_run(run: Path, tmp_path: Path, capsys) -> None:
    main(["export", str(run), str(tmp_path / "mulan")])
    assert "averaged weights" in capsys.readouterr().out
    one, other = load_joint(str(run)), load_joint(str(tmp_path / "mulan"))
    texts = ["a slow waltz", "techno"]
    assert one.name == other.name
    assert torch.equal(one.embed_text(texts), other.embed_text(texts))
    assert other.embed_text(texts).norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert sum(t.numel() for t in load_file(tmp_path / "mulan" / "weights.safetensors").values()) < 2e6


def test_validate_measures_what_fit_measured(run: Path, shards: Path, features: Path, tmp_path: Path) -> None:
    main(
        [
            "validate",
            f"--config={run / 'config.yaml'}",
            f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    (measured,) = scalars(tmp_path, "val/recall_1_text_to_audio").values()
    assert measured == list(scalars(run, "val/recall_1_text_to_audio").values())[-1]


def test_a_network_from_scratch_trains_on_audio(shards: Path, tmp_path: Path) -> None:
    audio = {
        "class_path": f"{LogMelTower.__module__}.LogMelTower",
        "init_args": {"depths": [1, 1], "widths": [8, 16], "stem": 8, "block": "basic"},
    }
    options = [
        option
        for option in tiny(tmp_path, shards, tmp_path / "unused", "--trainer.max_steps=2")
        if not option.startswith("--trainer.val_check_interval")
    ]
    main(
        [
            "fit",
            *options,
            f"--model.audio={json.dumps(audio)}",
            "--data.num_workers=0",
            "--data.shuffle_shards=1",
            "--data.batch_size=2",
            "--trainer.val_check_interval=2",
        ]
    )
    assert not (tmp_path / "unused").exists()
    assert len(scalars(tmp_path, "train/loss")) == 2
    vectors = load_joint(str(tmp_path)).embed_audio(torch.zeros(1, 160_000))
    assert vectors.shape == (1, 128)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--trainer.max_steps=9999"], "model.optimisation.total_steps"),
        (["--ckpt_path=last", "--model.audio.hidden=16"], "has another shape: audio."),
        (["--ckpt_path=last", "--model.optimisation.optimizer=muon"], "was trained with adam"),
    ],
)
def test_a_training_that_cannot_start_leaves_its_folder(
    run: Path,
    shards: Path,
    features: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    copy = tmp_path / "run"
    if "--ckpt_path=last" in options:
        shutil.copytree(run, copy)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit) as stop:
        main(["fit", *tiny(copy, shards, features), *options])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_two_processes_train_as_one_does(shards: Path, features: Path, tmp_path: Path) -> None:
    still = ["--model.audio.dropout=0", "--model.text.dropout=0", "--trainer.max_steps=6"]
    weights = {}
    for name, ranks, batch in (("start", 1, 8), ("one", 1, 8), ("two", 2, 4)):
        options = tiny(tmp_path / name, shards, features, *still, f"--data.batch_size={batch}")
        options += [f"--trainer.devices={ranks}", "--checkpoint.every_n_train_steps=1"]
        options += ["--trainer.max_steps=1"] if name == "start" else []
        options += ["--trainer.strategy=ddp"] if ranks > 1 else []
        command = [sys.executable, "-m", "lightning_n2m", "fit", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        state = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        weights[name] = torch.cat([t.flatten() for t in state["current_model_state"].values()])
    assert (weights["one"] - weights["two"]).norm() < 0.01 * (weights["one"] - weights["start"]).norm()
