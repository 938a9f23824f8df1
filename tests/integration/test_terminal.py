"""On a terminal of 80 columns: progress in one line that does not wrap, and Ctrl-C at any moment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import torch

from tests.integration.conftest import ROOT, tiny
from tests.integration.terminal import Screen, run_in_terminal

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
SAMPLING = """
from lightning_n2m.progress import SamplingProgress
import time
with SamplingProgress(["SpectrogramGenerator", "SuperResolution"], [1.0, 1.0], 4, 12) as progress:
    for batch in range(3):
        for stage in range(2):
            progress.start_stage(stage)
            for step in range(5):
                time.sleep(0.1)
                progress.step(step + 1, 5)
        progress.end_batch(3)
"""
PIPELINE = """
from data_pipeline.progress import progress
import time
with progress("embedding rater-sf", 12_345_678, "captions", 11_000_000) as report:
    for _ in range(10):
        time.sleep(0.05)
        report(1000)
"""


def screen_of(output: str) -> Screen:
    screen = Screen()
    screen.feed(output)
    return screen


@pytest.mark.parametrize(
    ("program", "shown"), [(SAMPLING, "SuperResolution"), (PIPELINE, "/12345678")], ids=["predict", "data"]
)
def test_a_bar_takes_one_line(program: str, shown: str) -> None:
    code, output = run_in_terminal([sys.executable, "-c", program], ENVIRONMENT, seconds=60)
    assert code == 0, output
    assert shown in output and "ends " in output
    screen = screen_of(output)
    assert not screen.wraps
    assert len(screen.lines) <= 2, screen.text()


@pytest.mark.slow  # A whole process: how a signal ends it cannot be seen from inside.
def test_ctrl_c_while_a_clip_is_sampled_leaves_one_line_and_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lightning_n2m", "predict", "-c", "configs/cascade/spectrogram.yaml"]
    command += ["--model.seconds=2", "--model.generator.num_steps=2000", "--data.prompt=techno"]
    code, output = run_in_terminal(
        [*command, f"--output.folder={tmp_path}"], ENVIRONMENT, lambda text: "SpectrogramGenerator," in text
    )
    assert code == 130, output
    assert "Traceback" not in output
    # The terminal itself shows ^C behind the bar.
    sampling, _, rest = output.partition("^C")
    message = rest.partition("Interrupted: ")[2]
    assert message.startswith("0 clips are in") and message.count("\n") == 1
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not screen_of(sampling).wraps


@pytest.mark.slow  # A whole process: how a signal ends it cannot be seen from inside.
def test_ctrl_c_during_a_validation_saves_and_leaves_no_other_file(shards: Path, tmp_path: Path) -> None:
    more = [f"--model.validation_times={[i / 40 for i in range(1, 40)]}", "--samples.clips=0"]
    more += ["--trainer.enable_progress_bar=true", "--checkpoint.every_n_train_steps=100"]
    command = [sys.executable, "-m", "lightning_n2m", "fit"]
    code, output = run_in_terminal(
        [*command, *tiny("super_resolution", shards, tmp_path, *more)],
        ENVIRONMENT,
        lambda text: "validation, batch 1" in text,
    )
    assert code == 130, output
    assert "Traceback" not in output
    assert "SIGINT ended the training after step 3, which is saved" in " ".join(screen_of(output).text())
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name in names if not name.startswith("events")} == {
        "config.yaml",
        "last.ckpt",
        "best.ckpt",
        "hparams.yaml",
    }
