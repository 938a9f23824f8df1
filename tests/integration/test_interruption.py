"""A run that is killed or interrupted resumes bit for bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lightning_n2m.cli.main import main
from tests.integration.conftest import ROOT, fit, tiny
from tests.integration.curves import scalars

STAGE = "super_resolution"
LONG = ["--trainer.max_steps=24", "--trainer.val_check_interval=7", "--checkpoint.every_n_train_steps=5"]


def start(shards: Path, run: Path, *more: str, **environment: str) -> subprocess.Popen[str]:
    """Start a training in a process of its own; it resumes if there is a checkpoint."""
    command = [sys.executable, "-m", "lightning_n2m", "fit", *tiny(STAGE, shards, run, *more)]
    return subprocess.Popen(
        [*command, "--ckpt_path=last"],
        cwd=ROOT,
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


def state(run: Path) -> dict[str, torch.Tensor]:
    """All tensors of the last checkpoint: weights, averages, moments of the optimiser."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    (moments,) = (optimizer["state"] for optimizer in checkpoint["optimizer_states"])
    flat = {f"{i} {name}": tensor for i, entry in moments.items() for name, tensor in entry.items()}
    return flat | {
        f"{kind} {name}": tensor
        for kind in ("state_dict", "current_model_state")
        for name, tensor in checkpoint[kind].items()
    }


def assert_equal(run: Path, other: Path, steps: int) -> None:
    """Every curve that does not measure time and every saved tensor are equal bit for bit."""
    assert sorted(scalars(run, "train/loss")) == list(range(1, steps + 1))
    for curve in ("train/loss", "train/gradient_norm", "train/learning_rate", "val/loss"):
        assert scalars(run, curve) == scalars(other, curve), curve
    tensors, expected = state(run), state(other)
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in tensors)


def kill_and_resume(shards: Path, run: Path, kills: int, draw: random.Random, *more: str) -> int:
    """Kill a training with SIGKILL at random moments of its steps, validations and saves, then let it end.

    Returns:
        Number of kills that hit a training that had started.
    """
    hits = 0
    for _ in range(kills):
        process = start(shards, run, *more)
        known = set(run.glob("events*"))
        while process.poll() is None and set(run.glob("events*")) == known:
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 2))
        hits += process.poll() is None
        process.kill()
        process.communicate()
    finish(shards, run, *more)
    return hits


def finish(shards: Path, run: Path, *more: str) -> None:
    """Train to the end. Compared runs are separate processes: pytest's own has another number of threads."""
    process = start(shards, run, *more)
    _, output = process.communicate(timeout=300)
    assert process.returncode == 0, output


@pytest.mark.slow
def test_a_killed_run_repeats_the_uninterrupted_one(shards: Path, tmp_path: Path) -> None:
    finish(shards, tmp_path / "whole", *LONG)
    assert kill_and_resume(shards, tmp_path / "killed", 2, random.Random(0), *LONG)
    assert_equal(tmp_path / "killed", tmp_path / "whole", 24)
    assert {path.name for path in (tmp_path / "killed" / "checkpoints").glob("*.ckpt")} == {
        "last.ckpt",
        "best.ckpt",
    }


def test_loader_workers_end_with_a_training_that_is_killed(tmp_path: Path) -> None:
    """A process whose loader has a worker is killed; no process is left that holds its standard output."""
    program = """
import os, signal
from lightning_n2m.data.data_loader import Loader
if __name__ == "__main__":
    print(next(iter(Loader(range(100), num_workers=1))), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, str(tmp_path / "program.py")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert done.stdout == "tensor([0])\n"


@pytest.mark.slow
def test_slurm_ends_a_run_and_puts_it_back_into_the_queue(shards: Path, tmp_path: Path) -> None:
    binaries, run = tmp_path / "bin", tmp_path / "run"
    binaries.mkdir()
    (binaries / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n')
    (binaries / "scontrol").chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "fit", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
    job |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost"}
    rare = ["--trainer.max_steps=400", "--checkpoint.every_n_train_steps=1000", "--samples.clips=0"]
    process = start(shards, run, *rare, PATH=f"{binaries}:{os.environ['PATH']}", **job)
    while process.poll() is None and not list(run.glob("events*")):
        time.sleep(0.05)
    time.sleep(1.5)
    process.send_signal(signal.SIGUSR1)
    _, output = process.communicate(timeout=120)
    assert process.returncode == 128 + signal.SIGUSR1, output
    assert "SIGUSR1 ended the training after step" in output.splitlines()[-1]
    assert (tmp_path / "arguments").read_text().split() == ["requeue", "77"]
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert 0 < step < 400
    more = [f"--trainer.max_steps={step + 3}", "--checkpoint.every_n_train_steps=1000", "--samples.clips=0"]
    finish(shards, run, *more)
    finish(shards, tmp_path / "whole", *more)
    assert_equal(run, tmp_path / "whole", step + 3)


def test_the_last_step_is_saved_although_no_save_is_due(shards: Path, tmp_path: Path) -> None:
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=3", "--checkpoint.every_n_train_steps=100")
    checkpoint = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 3


def test_a_run_resumes_from_the_best_checkpoint(runs: Path, shards: Path, tmp_path: Path) -> None:
    fit(STAGE, shards, tmp_path / "first", "--trainer.max_steps=5")
    best = tmp_path / "first" / "checkpoints" / "best.ckpt"
    assert torch.load(best, weights_only=True)["global_step"] == 3
    fit(STAGE, shards, tmp_path / "then", f"--ckpt_path={best}")
    whole = scalars(runs / STAGE, "train/loss")
    assert scalars(tmp_path / "then", "train/loss") == {step: whole[step] for step in (4, 5, 6)}
    tensors, expected = state(tmp_path / "then"), state(runs / STAGE)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


def test_a_run_folder_can_be_moved(shards: Path, tmp_path: Path) -> None:
    fit(STAGE, shards, tmp_path / "before", "--trainer.max_steps=2")
    (tmp_path / "before").rename(tmp_path / "after")
    fit(STAGE, shards, tmp_path / "after", "--trainer.max_steps=4", "--ckpt_path=last")
    names = sorted(path.name for path in (tmp_path / "after" / "checkpoints").iterdir())
    assert names == ["best.ckpt", "last.ckpt"]
    checkpoint = torch.load(tmp_path / "after" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4


def test_a_full_disk_leaves_the_last_checkpoint_whole(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=2")
    before = (tmp_path / "checkpoints" / "last.ckpt").read_bytes()
    save = torch.save

    def half(checkpoint: object, file: object) -> None:
        save(checkpoint, file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(SystemExit) as stop:
        main(["fit", *tiny(STAGE, shards, tmp_path, "--trainer.max_steps=4", "--ckpt_path=last")])
    assert stop.value.code == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "checkpoints" / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (["--data.streams=2"], "data.streams 1"),
        (["--data.num_workers=2"], "data.num_workers 1"),
        (["--data.batch_size=3"], "do not divide"),
    ],
)
def test_a_run_that_would_read_other_clips_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: list[str], named: str
) -> None:
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=2")
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, "--ckpt_path=last", *changed)
    assert stop.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--data.effective_batch=5"], "not a multiple of the 2 clips"),
        (["--data.effective_batch=4", "--trainer.accumulate_grad_batches=2"], "it follows from the first"),
    ],
)
def test_an_impossible_effective_batch_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, *options)
    assert stop.value.code == 2
    assert named in capsys.readouterr().err.splitlines()[-1]
