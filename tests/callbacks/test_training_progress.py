"""The line of a training: its rate, its end, and its width."""

from __future__ import annotations

import io
import sys
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import Timer

from lightning_n2m.callbacks import training_progress as module
from lightning_n2m.callbacks.training_progress import TrainingProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Training:
    """Steps of a trainer of which the callback sees its step, its limit and its losses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int, total: int, accumulate: int = 1) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)
        self.trainer: Any = SimpleNamespace(
            global_step=step,
            max_steps=total,
            is_global_zero=True,
            accumulate_grad_batches=accumulate,
            callbacks=[],
            default_root_dir="runs/a",
            callback_metrics={},
        )
        self.progress = TrainingProgress(interval=0)

    def start(self) -> None:
        self.progress.on_train_start(self.trainer, torch.nn.Linear(9, 100))  # type: ignore[arg-type]

    def batches(self, number: int, seconds: float, loss: float = 0.125) -> None:
        for batch in range(number):
            self.now += seconds
            self.trainer.global_step += (batch + 1) % self.trainer.accumulate_grad_batches == 0
            outputs = {"loss": torch.tensor(loss / self.trainer.accumulate_grad_batches)}
            self.progress.on_train_batch_end(self.trainer, None, outputs, None, batch)  # type: ignore[arg-type]


def end_of(seconds: float) -> set[str]:
    """The end time as it is shown, now or after the next tick of the clock."""
    return {f"ends {datetime.now() + timedelta(seconds=seconds + late):%a %H:%M}" for late in (0, 2)}


def test_after_a_resume_the_rate_is_that_of_this_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch, step=9000, total=9100)
    training.start()
    training.batches(10, seconds=2.0)
    first, *_, line = capsys.readouterr().err.splitlines()
    assert first == "Training Linear (0.001 M parameters) from step 9,000 in runs/a."
    # 90 steps remain, of 2 s each.
    assert line.startswith("step 9,010/9,100 (99%)  2 s/step  loss 0.125  ends ")
    assert any(line.endswith(end) for end in end_of(180))


def test_steps_and_loss_are_those_of_whole_batches_under_accumulation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    training = Training(monkeypatch, step=4, total=8, accumulate=4)
    training.start()
    training.batches(8, seconds=0.5)
    _, *lines = capsys.readouterr().err.splitlines()
    assert lines[2].startswith("step 4/8 (50%)  loss 0.125"), "no rate before the first step of this run"
    assert lines[-1].startswith("step 6/8 (75%)  2 s/step  loss 0.125  ends ")
    assert any(lines[-1].endswith(end) for end in end_of(4))


@pytest.mark.parametrize("total", [900, 2_500_000, 999_999_999_999])
def test_the_end_is_shown_in_79_columns(monkeypatch: pytest.MonkeyPatch, total: int) -> None:
    training = Training(monkeypatch, step=total // 2, total=total)
    training.start()
    training.trainer.callback_metrics["val/loss"] = torch.tensor(0.123456)
    training.progress.on_validation_end(training.trainer, None)  # type: ignore[arg-type]
    training.batches(1, seconds=12.345, loss=0.123456)
    line = training.progress.line("samples at guidance 7.5, 100/100")
    assert len(line) <= 79
    assert "  ends " in line
    assert "ends" in training.progress.line("12.3 s/step")


def test_an_end_beyond_the_week_is_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, step=0, total=1_000_000)
    training.start()
    training.batches(1, seconds=3.0)
    expected = datetime.now() + timedelta(seconds=3 * 999_999)
    assert training.progress.line("").endswith(f"ends {expected:%d %b %Y}")


def test_a_time_limit_ends_the_training_before_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(monkeypatch, step=0, total=1_000_000)
    timer = Timer(duration=timedelta(hours=1))
    training.trainer.callbacks.append(timer)
    training.start()
    training.batches(1, seconds=3.0)
    assert any(training.progress.line("").endswith(end) for end in end_of(3600))


def test_a_terminal_shows_a_validation_as_soon_as_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    training = Training(monkeypatch, step=0, total=10)
    training.start()
    training.batches(1, seconds=1.0)
    training.now += 0.01
    training.progress.on_validation_batch_start(training.trainer, None, None, 0)  # type: ignore[arg-type]
    assert terminal.getvalue().rpartition("\r")[2].startswith("step 1/10 (10%)  validation, batch 1")
    shown = terminal.getvalue()
    training.progress.on_validation_batch_start(training.trainer, None, None, 1)  # type: ignore[arg-type]
    assert terminal.getvalue() == shown, "more batches wait for the next update"


def test_a_line_of_the_heartbeat_shows_the_loss_of_the_last_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It may come before every step that would have shown one."""
    training = Training(monkeypatch, step=0, total=100)
    training.progress.interval = 15
    training.start()
    for loss in (0.5, 0.25):
        training.now += 15
        training.progress._repeated_line()
        training.batches(1, seconds=1, loss=loss)
    assert "loss 0.25 " in training.progress._repeated_line()
