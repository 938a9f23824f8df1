"""Checks of a training that stages and joint models share: its length, and the checkpoint it resumes from."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer

from lightning_n2m.errors import InputError
from lightning_n2m.stages.settings import Optimisation

REMEDY = "resume with the config.yaml of its run, or train elsewhere with --trainer.default_root_dir."


def limit_steps(trainer: Trainer, optimisation: Optimisation) -> None:
    """End a training where its learning rate reaches zero.

    A trainer without a number of steps (``max_steps`` -1, with ``max_epochs`` or ``max_time``) gets
    ``total_steps``: every further step would use computing time and change nothing.

    Args:
        trainer: Trainer of the run; its ``max_steps`` is set if it is -1.
        optimisation: Optimiser and learning rate.

    Raises:
        InputError: if ``max_steps`` is above ``total_steps``.
    """
    total, limit = optimisation.total_steps, trainer.max_steps
    if limit > total:
        raise InputError(
            f"trainer.max_steps is {limit}, but the learning rate is zero from step {total} "
            "(model.optimisation.total_steps); set total_steps to at least max_steps."
        )
    if limit == -1:
        trainer.fit_loop.epoch_loop.max_steps = total


def check_stage(checkpoint: dict[str, Any], model: LightningModule) -> None:
    """Refuse the checkpoint of another class.

    Raises:
        InputError: if the classes differ; the message names both.
    """
    name, expected = checkpoint.get("stage", "no stage of this project"), type(model).__name__
    if name != expected:
        raise InputError(
            f"This checkpoint is of {name}, but the config builds {expected}; give the checkpoint and the "
            "config of one run."
        )


def check_adapter(checkpoint: dict[str, Any], adapter: dict[str, Any] | None) -> None:
    """Refuse the checkpoint of another adapter, or of a whole network in the place of an adapter.

    Args:
        checkpoint: Content of the file.
        adapter: Settings and base of the adapter of the config; null for a whole network.

    Raises:
        InputError: if they differ; the message describes both.
    """
    if checkpoint.get("adapter") != adapter:
        raise InputError(
            f"The checkpoint holds {_describe(checkpoint.get('adapter'))}, but the config describes "
            f"{_describe(adapter)}; give the config.yaml of its run."
        )


def check_weights(
    checkpoint: Any,
    model: LightningModule,
    optimisation: Optimisation,
    adapter: dict[str, Any] | None = None,
) -> None:
    """Refuse to resume from a checkpoint whose class, adapter, parameter shapes or optimiser differ.

    Args:
        checkpoint: Content of the file, of any type.
        model: The model that the config builds.
        optimisation: Its optimiser and learning rate.
        adapter: Settings and base of its adapter; null for a whole network.

    Raises:
        InputError: if they differ; the message names the first difference.
    """
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise InputError("The checkpoint holds no weights; give a .ckpt file that 'fit' wrote.")
    check_stage(checkpoint, model)
    check_adapter(checkpoint, adapter)
    saved = {name: tuple(tensor.shape) for name, tensor in checkpoint["state_dict"].items()}
    built = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted(saved.keys() | built.keys()):
        if saved.get(name) != built.get(name):
            raise InputError(
                f"The checkpoint's network has another shape: {name} is {saved.get(name, 'missing')} "
                f"there, but {built.get(name, 'missing')} by the config; {REMEDY}"
            )
    optimizer = checkpoint.get("optimizer", "adam")
    if optimizer != optimisation.optimizer:
        raise InputError(
            f"The checkpoint was trained with {optimizer}, but model.optimisation.optimizer is "
            f"{optimisation.optimizer}; {REMEDY}"
        )


def check_settings(saved: dict[str, Any], configured: dict[str, Any]) -> None:
    """Refuse to resume with other settings than those the weights were trained with.

    Args:
        saved: Settings in the checkpoint, by name; a missing one is not compared.
        configured: Settings of the config.

    Raises:
        InputError: if one differs.
    """
    for name, value in saved.items():
        if configured.get(name) != value:
            raise InputError(
                f"The checkpoint was trained with {name} {value}, but the config has "
                f"{configured.get(name)}; {REMEDY}"
            )


def keep_learning_rate(checkpoint: dict[str, Any], optimisation: Optimisation) -> None:
    """Take the learning rate of a resumed run from the config, not from the checkpoint."""
    rate = optimisation.learning_rate
    states = zip(checkpoint.get("optimizer_states", ()), checkpoint.get("lr_schedulers", ()), strict=True)
    for optimizer, schedule in states:
        schedule["base_lrs"] = [rate] * len(schedule["base_lrs"])
        current_rate = rate * optimisation.factor(schedule["last_epoch"])
        for group in optimizer["param_groups"]:
            group.update(initial_lr=rate, lr=current_rate)


def _describe(adapter: Any) -> str:
    """Settings of an adapter, for a message."""
    if not isinstance(adapter, dict):
        return "a whole network"
    settings = {**adapter, "base": str(adapter.get("base"))[:12]}
    return f"an adapter ({', '.join(f'{name} {value}' for name, value in settings.items())})"
