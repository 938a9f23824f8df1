"""The best validation loss and the band of the expected one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.trainer.states import TrainerFn

from lightning_n2m.callbacks.train_metrics import TrainMetrics
from lightning_n2m.errors import InputError


def validate(metrics: TrainMetrics, step: int, loss: float, **state: Any) -> dict[str, float]:
    logged: dict[str, float] = {}
    trainer = SimpleNamespace(
        callback_metrics={"val/loss": loss},
        sanity_checking=False,
        state=SimpleNamespace(fn=TrainerFn.FITTING),
        global_step=step,
    )
    trainer.__dict__.update(state)
    module = SimpleNamespace(log=lambda tag, value, sync_dist: logged.__setitem__(tag, value))
    metrics.on_validation_epoch_end(trainer, module)  # type: ignore[arg-type]
    return logged


def test_the_best_loss_survives_a_resume() -> None:
    metrics = TrainMetrics()
    assert validate(metrics, 1, 0.5) == {"best/val_loss": 0.5}
    assert validate(metrics, 2, 0.7) == {"best/val_loss": 0.5}
    resumed = TrainMetrics()
    resumed.load_state_dict(metrics.state_dict())
    assert validate(resumed, 3, 0.6) == {"best/val_loss": 0.5}
    assert validate(resumed, 3, 0.1, sanity_checking=True) == {}
    resumed.load_state_dict({})  # a checkpoint of an earlier version


def test_the_band_follows_a_power_law_between_known_losses() -> None:
    metrics = TrainMetrics({100: 0.8, 400: 0.4}, expected_tolerance=0.25)
    # A power law with exponent -1/2 goes through both: loss = 8 / sqrt(step).
    for step in (100, 144, 225, 399):
        assert metrics.expected(step) == pytest.approx(8 / step**0.5)
    assert metrics.expected(99) is None and metrics.expected(5000) == 0.4
    assert "expected/val_loss_low" not in validate(metrics, 50, 0.9)
    logged = validate(metrics, 400, 0.5)
    assert logged["expected/val_loss_low"] == pytest.approx(0.3)
    assert logged["expected/val_loss_high"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({0: 0.5},), "step. is 0"),
        (({5: 0.0},), "expected_loss.5 is 0"),
        (({5: float("nan")},), "expected_loss.5 is nan"),
        (({5: 0.5}, 2.0), "expected_tolerance is 2"),
    ],
)
def test_impossible_expectations_are_refused(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainMetrics(*arguments)
