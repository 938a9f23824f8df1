"""Length of a training, and the checkpoint from which it resumes."""

from __future__ import annotations

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from lightning_n2m.errors import InputError
from lightning_n2m.stages.run_checks import (
    check_settings,
    check_stage,
    check_weights,
    keep_learning_rate,
    limit_steps,
)
from lightning_n2m.stages.settings import Optimisation

TEN_STEPS = Optimisation(learning_rate=0.5, warmup_steps=1, total_steps=10)


class Model(LightningModule):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(2, width)


def trainer(max_steps: int) -> Trainer:
    return Trainer(
        accelerator="cpu", max_steps=max_steps, max_epochs=-1, logger=False, enable_checkpointing=False
    )


@pytest.mark.parametrize(("max_steps", "expected"), [(-1, 10), (4, 4), (10, 10)])
def test_a_training_ends_at_the_latest_where_the_rate_is_zero(max_steps: int, expected: int) -> None:
    limited = trainer(max_steps)
    limit_steps(limited, TEN_STEPS)
    assert limited.max_steps == expected


def test_steps_at_a_rate_of_zero_are_refused() -> None:
    with pytest.raises(InputError, match=r"max_steps is 11, .* zero from step 10"):
        limit_steps(trainer(11), TEN_STEPS)


def test_a_checkpoint_of_another_model_is_refused() -> None:
    check_stage({"stage": "Model"}, Model())
    with pytest.raises(InputError, match="is of Other, but the config builds Model"):
        check_stage({"stage": "Other"}, Model())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state_dict": Model(width=4).state_dict()}, r"layer\.bias is \(4,\) there, but \(3,\)"),
        ({"state_dict": {}}, r"layer\.bias is missing there"),
        ({"state_dict": None}, "holds no weights"),
        ({"optimizer": "muon"}, "was trained with muon"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(change: dict[str, object], message: str) -> None:
    checkpoint = {"stage": "Model", "state_dict": Model().state_dict()}
    check_weights(checkpoint, Model(), TEN_STEPS)
    with pytest.raises(InputError, match=message):
        check_weights(checkpoint | change, Model(), TEN_STEPS)


def test_a_setting_that_differs_is_refused_and_one_that_is_missing_is_not() -> None:
    check_settings({"scale": 1.0}, {"scale": 1.0, "emphasis": 0.5})
    with pytest.raises(InputError, match=r"trained with scale 2\.0, but the config has 1\.0"):
        check_settings({"scale": 2.0}, {"scale": 1.0})


def test_a_resumed_run_takes_its_learning_rate_from_the_config() -> None:
    checkpoint = {
        "optimizer_states": [{"param_groups": [{"lr": 9.0, "initial_lr": 9.0}]}],
        "lr_schedulers": [{"base_lrs": [9.0], "last_epoch": 5}],
    }
    keep_learning_rate(checkpoint, TEN_STEPS)
    # Half of the cosine: half of the peak rate of 0.5.
    assert checkpoint["optimizer_states"][0]["param_groups"][0] == pytest.approx(
        {"lr": 0.25, "initial_lr": 0.5}
    )
    assert checkpoint["lr_schedulers"][0]["base_lrs"] == [0.5]
