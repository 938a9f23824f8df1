"""Trained towers on disk: weights and the config that builds them, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.two_towers import TwoTowers
from lightning_n2m.stages.bundle import CONFIG, LAST, read_bundle, read_config, write_bundle
from lightning_n2m.stages.bundle_weights import store


def load_towers(folder: str | Path, checkpoint: Path = LAST) -> TwoTowers:
    """Build two towers from their config and load their (averaged) weights, ready to embed.

    Args:
        folder: What ``export`` wrote, or the folder of a run.
        checkpoint: Which of the run's checkpoints.

    Raises:
        InputError: if the folder lacks config or weights, either is damaged, or they do not belong together.
    """
    folder = Path(folder)
    config, weights = read_bundle(folder, build_towers, prefix="", checkpoint=checkpoint)
    towers = build_towers(config)
    try:
        towers.load_state_dict(weights)
    except RuntimeError as error:
        raise InputError(
            f"The weights in {folder} do not fit its {CONFIG}; both must come from one run."
        ) from error
    return towers.eval().requires_grad_(False)


def save_towers(run: str | Path, folder: str | Path, checkpoint: Path = LAST) -> Path:
    """Write the averaged weights of a run and its config as a bundle, in 32 bits: they are small.

    Args:
        run: Folder of a run, with ``config.yaml`` and ``checkpoints/last.ckpt``.
        folder: Where to write.
        checkpoint: Which of the run's checkpoints: the last, or the one that validated best.
    """
    run, folder = Path(run), Path(folder)
    weights = load_towers(run, checkpoint).state_dict()
    return write_bundle(folder, read_config(run), store(weights, half=False))


def build_towers(config: dict[str, Any]) -> TwoTowers:
    """Instantiate the towers that a config describes.

    Raises:
        InputError: if the config names unknown classes or keys.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(TwoTowers, "model")
    try:
        return parser.instantiate(parser.parse_object({"model": config}))["model"]  # type: ignore[no-any-return]
    except (ArgumentError, TypeError, ValueError, ArithmeticError, RuntimeError, LookupError) as error:
        raise InputError(f"The joint model's config is not valid: {' '.join(str(error).split())}") from error
