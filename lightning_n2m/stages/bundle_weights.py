"""The weights of a bundle or a run, which may come from a stranger: checked before they take memory."""

from __future__ import annotations

import hashlib
import json
import pickle
import stat
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lightning_n2m.errors import InputError

WEIGHTS = "weights.safetensors"
MAX_HEADER = 1 << 24  # bytes; the header of the largest network of the paper has about 100 kB

# What torch.load raises for a file that is cut off or overwritten.
_DAMAGED = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    zipfile.BadZipFile,
)


def regular_file(folder: Path, name: str) -> Path:
    """A file of a folder.

    Raises:
        InputError: if it is a device, a pipe, or a link that leads out of the folder.
    """
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path} is a link that leads out of its folder; copy the file into it.")
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"{path} is not a regular file; export the run again.")
    return path


def read_header(path: Path) -> dict[str, Any]:
    """Names, shapes and types of the tensors of a safetensors file, and its ``__metadata__``.

    Raises:
        InputError: if the header is damaged or does not fit the length of the file.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= min(size - 8, MAX_HEADER):
                raise ValueError("length of the header")
            header = json.loads(file.read(length))
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, stop = entry["data_offsets"]
            if not 0 <= start <= stop <= size - 8 - length or not all(n >= 0 for n in entry["shape"]):
                raise ValueError(f"entry of {name}")
        return dict(header)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged; export the run again.") from error


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file in 32 bits.

    Raises:
        InputError: if the file is damaged, or a tensor holds a value that is NaN or infinite.
    """
    read_header(path)
    try:
        weights = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, RuntimeError, KeyError, ValueError, OSError) as error:
        raise InputError(f"{path} is damaged; export the run again.") from error
    return check_finite(weights, path)


def check_finite(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights, if all their values are finite.

    Raises:
        InputError: naming the first tensor that holds NaN or infinite values.
    """
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise InputError(f"{path}: the tensor {name} holds NaN or infinite values; use other weights.")
    return weights


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint that holds tensors and plain values, and nothing that runs.

    Raises:
        InputError: if the file is missing, damaged, or contains code.
    """
    try:
        _check_archive(Path(path))
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise InputError(
            f"The checkpoint {path} does not exist; give a .ckpt file that 'fit' wrote."
        ) from error
    except pickle.UnpicklingError as error:
        raise InputError(
            f"The checkpoint {path} contains code or is not a checkpoint, and was not loaded; give one that "
            "'fit' wrote."
        ) from error
    except _DAMAGED as error:
        raise InputError(f"The checkpoint {path} is damaged; give a whole one.") from error
    if not isinstance(checkpoint, dict):
        raise InputError(f"The checkpoint {path} holds no training state; give one that 'fit' wrote.")
    return checkpoint


def checkpoint_weights(path: Path, prefix: str) -> dict[str, Tensor]:
    """Averaged weights of one part of the module that a checkpoint was made of.

    Args:
        path: The checkpoint.
        prefix: Name of the part, with a dot.

    Raises:
        InputError: if the checkpoint is damaged, or a tensor is not stored whole or is not finite.
    """
    state = read_checkpoint(path).get("state_dict")
    if not isinstance(state, Mapping):
        raise InputError(f"The checkpoint {path} holds no weights; give one that 'fit' wrote.")
    weights = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if isinstance(name, str) and name.startswith(prefix)
    }
    for name, tensor in weights.items():
        # A view of a small storage can claim any shape; computing with it would allocate that shape.
        if (
            not isinstance(tensor, Tensor)
            or tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
        ):
            raise InputError(f"The checkpoint {path} is damaged: {name} is not a whole tensor.")
    return check_finite(weights, path)


def _check_archive(path: Path) -> None:
    """Refuse what is not a regular file, and archives whose members unpack to more than the file holds."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise InputError(f"The checkpoint {path} is not a regular file; give a .ckpt file that 'fit' wrote.")
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                unpacked = sum(member.file_size for member in archive.infolist())
        except (zipfile.BadZipFile, NotImplementedError) as error:
            raise InputError(f"The checkpoint {path} is damaged; give a whole one.") from error
        if unpacked > path.stat().st_size:
            raise InputError(
                f"The checkpoint {path} is compressed, and 'fit' writes none such; give another."
            )


def hash_weights(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, shapes and values in 32 bits, independent of the files that store them.

    Args:
        weights: State dict of a network.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        values = tensor.detach().float().cpu().contiguous().flatten()
        digest.update(values.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def shapes_of(header: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor that a header names."""
    return {name: tuple(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}


def store(weights: Mapping[str, Tensor], half: bool) -> dict[str, Tensor]:
    """Weights as a bundle stores them.

    Args:
        weights: The weights in 32 bits.
        half: Store in 16 bits every tensor whose values 16 bits can hold.
    """
    limit = torch.finfo(torch.float16).max
    return {
        name: (tensor.half() if half and tensor.abs().amax() <= limit else tensor).contiguous()
        for name, tensor in weights.items()
    }
