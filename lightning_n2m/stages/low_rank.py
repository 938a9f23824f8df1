"""A stage stored as its difference from another, its base: two factors of low rank for each large weight.

The config of such a bundle has a section ``base`` beside ``model``: the name of a folder next to it, and the
hash of the weights there. Its weights file holds, for each tensor of the network, one of

- ``NAME.up`` ``(m, r)`` and ``NAME.down`` ``(r, n)``: the tensor is that of the base plus their product,
- ``NAME``: the tensor itself, for biases, norms and inputs that the base lacks,
- nothing: the tensor is that of the base.

Fine-tuning changes weights by matrices of low intrinsic rank (Aghajanyan et al. 2020; Hu et al. 2022), so
that a student or a generator that edits takes a fifth of its teacher's space. `networks.adapters` stores
differences of networks of one shape, for use at a strength; this module those of any network and its base.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.adapters import nearest_factors
from lightning_n2m.stages.bundle_weights import (
    WEIGHTS,
    hash_weights,
    read_header,
    read_safetensors,
    regular_file,
    shapes_of,
)

SECTION = "base"
MAX_RANK = 4096
_FACTORS = (".up", ".down")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Base:
    """The stage that another is stored relative to.

    Args:
        path: Its folder, a bundle.
        digest: Hash of its weights, see `hash_weights`.
    """

    path: Path
    digest: str

    @classmethod
    def beside(cls, folder: Path, section: Any) -> Base:
        """Read the section ``base`` of a bundle, which may come from a stranger.

        Args:
            folder: Folder of the bundle.
            section: What its YAML holds.

        Raises:
            InputError: if a key is missing, unknown or wrong, or the base is not beside the bundle.
        """
        name, digest = (section.get(key) for key in ("folder", "hash")) if _is_section(section) else ("", "")
        if not (isinstance(name, str) and _FOLDER.fullmatch(name)):
            raise InputError(f"{folder}: the section 'base' of its config is not valid; export it again.")
        if not (isinstance(digest, str) and _HASH.fullmatch(digest)):
            raise InputError(f"{folder}: base.hash of its config is not valid; export it again.")
        path = folder.absolute().parent / name
        if not (path / WEIGHTS).is_file():
            raise InputError(
                f"{folder} is stored as a difference from {name}, which is missing beside it; copy both, or "
                "'n2m export' it where both are, which stores it whole."
            )
        return cls(path, digest)

    def to_config(self) -> dict[str, str]:
        """The section ``base`` of a bundle."""
        return {"folder": self.path.name, "hash": self.digest}

    def weights(self) -> dict[str, Tensor]:
        """Its weights in 32 bits.

        Raises:
            InputError: if they are damaged, or not those that the difference was computed from.
        """
        weights = read_safetensors(regular_file(self.path, WEIGHTS))
        if hash_weights(weights) != self.digest:
            raise InputError(
                f"{self.path} holds other weights than those that a stage beside it is stored relative to; "
                "restore them, or export that stage again."
            )
        return weights

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each of its tensors."""
        return shapes_of(read_header(regular_file(self.path, WEIGHTS)))


def _is_section(section: Any) -> bool:
    return isinstance(section, Mapping) and set(section) == {"folder", "hash"}


@torch.no_grad()
def factorise(base: Mapping[str, Tensor], weights: Mapping[str, Tensor], rank: int) -> dict[str, Tensor]:
    """Tensors that store ``weights`` relative to ``base``.

    Each difference of large tensors is replaced by the nearest matrix of the rank, see `nearest_factors`.
    All other tensors are exact.

    Args:
        base: State dict of the base.
        weights: State dict of the stage.
        rank: Rank of the difference of each tensor with two or more axes.

    Raises:
        InputError: if the rank is out of range.
    """
    check_range("--rank", rank, 1, MAX_RANK)
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        start = base.get(name)
        if start is None or start.shape != weight.shape:
            stored[name] = weight
            continue
        if torch.equal(start, weight):
            continue
        rows = len(weight) if weight.dim() > 1 else 1
        columns = weight.numel() // rows
        if rank * (rows + columns) >= weight.numel():
            stored[name] = weight
            continue
        factors = nearest_factors((weight.double() - start.double()).flatten(1), rank)
        for suffix, factor in zip(_FACTORS, factors, strict=True):
            stored[name + suffix] = factor.float().contiguous()
    return stored


@torch.no_grad()
def restore(base: Mapping[str, Tensor], stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights that `factorise` stored, in 32 bits.

    Sums are in float64 and in a fixed order, so that all machines compute the same bits.

    Args:
        base: State dict of the base.
        stored: The stored tensors; shapes as `restored_shapes` has checked.
    """
    weights = dict(base)
    for name, tensor in stored.items():
        if name.endswith(".down"):
            continue
        if not name.endswith(".up"):
            weights[name] = tensor
            continue
        name = name.removesuffix(".up")
        up, down = tensor.double(), stored[f"{name}.down"].double()
        matrix = base[name].double().flatten(1)
        for column, row in zip(up.unbind(1), down.unbind(0), strict=True):
            matrix = matrix + column[:, None] * row
        weights[name] = matrix.float().view(base[name].shape)
    return weights


def restored_shapes(
    base: Mapping[str, tuple[int, ...]], stored: Mapping[str, tuple[int, ...]], source: object
) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that `restore` gives.

    Args:
        base: Shapes of the base.
        stored: Shapes of the stored tensors.
        source: Name of their file, for messages.

    Raises:
        InputError: if two factors do not belong together, or to a tensor of the base.
    """
    shapes = dict(base)
    for name, shape in stored.items():
        if not name.endswith(_FACTORS):
            shapes[name] = shape
            continue
        target = name.rpartition(".")[0]
        up, down = (stored.get(target + factor, ()) for factor in _FACTORS)
        whole = base.get(target, ())
        rows = whole[0] if whole else 0
        columns = torch.Size(whole).numel() // rows if rows else 0
        if len(up) != 2 or len(down) != 2 or up[1] != down[0] or (up[0], down[1]) != (rows, columns):
            raise InputError(f"{source}: {name} does not fit the base of its bundle; export it again.")
    return shapes
