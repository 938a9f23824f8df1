"""A trained stage on disk: weights and the config that builds it, in one folder."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from lightning.pytorch import LightningModule
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from lightning_n2m.aliases import upgrade_config
from lightning_n2m.errors import InputError
from lightning_n2m.stages.base import Stage
from lightning_n2m.storage import atomic_path

WEIGHTS, CONFIG = "weights.safetensors", "config.yaml"
LAST = Path("checkpoints") / "last.ckpt"
BEST = Path("checkpoints") / "best.ckpt"


def load_stage(folder: str | Path) -> Stage:
    """Build a stage from its config and load its (averaged) weights, ready to generate.

    Args:
        folder: What ``export`` wrote, or the folder of a run.

    Raises:
        InputError: if the folder lacks config or weights, either is damaged, or they do not belong together.
    """
    folder = Path(folder)
    stage = build_stage(read_config(folder))
    if not _loads(stage, read_weights(folder)):
        raise InputError(f"The weights in {folder} do not fit its {CONFIG}; both must come from one run.")
    return stage.eval().requires_grad_(False)


def begin_with(stage: LightningModule, folder: str | Path) -> None:
    """Give a stage that is to be trained the weights of another training.

    Args:
        stage: The stage.
        folder: What ``export`` wrote, or the folder of a run.

    Raises:
        InputError: if it is no stage, there are no weights, or they are of a network of another shape.
    """
    if not isinstance(stage, Stage):
        raise InputError(
            f"--weights is for the stages of a cascade, not for {type(stage).__name__}; leave it out."
        )
    if not _loads(stage, read_weights(Path(folder))):
        raise InputError(
            f"--weights {folder}: the network there has another shape than this config's; take its config "
            "over, or begin without its weights."
        )


def _loads(stage: Stage, weights: dict[str, Tensor]) -> bool:
    try:
        stage.network.load_state_dict(weights)
    except RuntimeError:
        return False
    return True


def save_stage(run: str | Path, folder: str | Path, half: bool = True, checkpoint: Path = LAST) -> Path:
    """Write the averaged weights of a run and its config as a bundle.

    Args:
        run: Folder of a run, with ``config.yaml`` and ``checkpoints/last.ckpt``.
        folder: Where to write; a bundle that is there is replaced only when the new one is complete.
        half: Store weights in 16 bits.
        checkpoint: Which of the run's checkpoints: the last, or the one that validated best.
    """
    run, folder = Path(run), Path(folder)
    config = read_config(run)
    weights = read_weights(run, checkpoint=checkpoint)
    build_stage(config).network.load_state_dict(weights)  # A bundle that cannot be loaded is not written.
    if half:
        weights = {name: tensor.half() for name, tensor in weights.items()}
    folder.mkdir(parents=True, exist_ok=True)
    # Both files are complete before either takes its name.
    with atomic_path(folder / CONFIG) as config_part, atomic_path(folder / WEIGHTS) as weights_part:
        # As bytes: safetensors would make a file that only its owner may read.
        weights_part.write_bytes(save({name: tensor.contiguous() for name, tensor in weights.items()}))
        config_part.write_text(yaml.safe_dump({"model": config}, sort_keys=False), encoding="utf-8")
    return folder


def read_config(folder: Path) -> dict[str, Any]:
    """The ``model`` section of a folder's config.

    Raises:
        InputError: if there is none.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"{folder} holds no {CONFIG}, so it is no stage folder; give one that 'fit' or 'export' wrote."
        )
    try:
        return upgrade_config(yaml.safe_load(path.read_text(encoding="utf-8"))["model"])
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} has no readable 'model' section; export the run again.") from error


def build_stage(config: dict[str, Any]) -> Stage:
    """Instantiate the stage that a config describes.

    Raises:
        InputError: if the config names unknown classes or keys.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Stage, "model")
    try:
        return parser.instantiate(parser.parse_object({"model": config}))["model"]
    except ArgumentError as error:
        raise InputError(f"The stage's config is not valid: {' '.join(str(error).split())}") from error


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that holds tensors and plain values, and nothing that runs.

    Raises:
        InputError: if the file is missing, damaged, or carries code.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(
            f"The checkpoint {path} does not exist; give a .ckpt file that 'fit' wrote."
        ) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"The checkpoint {path} carries code or is no checkpoint, and was not loaded; give one that "
            "'fit' wrote."
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise InputError(f"The checkpoint {path} is damaged; give a whole one.") from error


def read_weights(folder: Path, prefix: str = "network.", checkpoint: Path = LAST) -> dict[str, Tensor]:
    """Exported weights of a folder, or the averaged ones of a run's checkpoint.

    Args:
        folder: The bundle or the run.
        prefix: Name of the part of the trained module that is asked for, with a dot.
        checkpoint: Which of the run's checkpoints.

    Raises:
        InputError: if there are none, or they are damaged.
    """
    if (folder / WEIGHTS).is_file():
        try:
            return {name: tensor.float() for name, tensor in load_file(folder / WEIGHTS).items()}
        except SafetensorError as error:
            raise InputError(f"{folder / WEIGHTS} is damaged; export the run again.") from error
    if not (folder / checkpoint).is_file():
        raise InputError(
            f"{folder} holds neither {WEIGHTS} nor {checkpoint}; train the stage, or give another folder."
        )
    state = read_checkpoint(folder / checkpoint)["state_dict"]
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
