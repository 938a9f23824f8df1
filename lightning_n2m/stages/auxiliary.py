"""Auxiliary losses of a training: what the middle of the U-Net shall know of the music.

Deviation: the paper trains on the diffusion loss alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_n2m.data.derived_features import CHANNELS, FeatureName
from lightning_n2m.errors import check_range


@dataclass(frozen=True)
class FeatureLoss:
    """Settings of one auxiliary loss.

    Args:
        features: What is predicted: ``musicnn`` or ``chroma``; see `lightning_n2m.data.derived_features`.
        kind: ``alignment``: cosine distance and manifold loss, for learned features (U-REPA, Tian et al.
            2025); ``regression``: squared error, for features with a meaning of their own.
        weight: Weight beside the diffusion loss.
        manifold_weight: Weight of the manifold loss beside the cosine distance.
        until_step: Optimiser step from which the loss is no longer used (HASTE, Wang et al. 2025);
            null for never.
        hidden: Width of the hidden layer of the projection.
    """

    features: FeatureName = "musicnn"
    kind: Literal["alignment", "regression"] = "alignment"
    weight: float = 0.5
    manifold_weight: float = 3.0
    until_step: int | None = None
    hidden: int = 256

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("auxiliary.weight", self.weight, 0, 1e6)
        check_range("auxiliary.manifold_weight", self.manifold_weight, 0, 1e6)
        check_range("auxiliary.hidden", self.hidden, 1, 1 << 16)
        if self.until_step is not None:
            check_range("auxiliary.until_step", self.until_step, 0, 10**12)


class FeaturePredictor(nn.Module):
    """Projects the middle of the network onto features, and computes the loss.

    As U-REPA finds, the projection comes before the change of the rate, and not after it.

    Args:
        width: Channels in the middle of the network.
        settings: The loss.
    """

    def __init__(self, width: int, settings: FeatureLoss) -> None:
        super().__init__()
        self.settings = settings
        self.project = nn.Sequential(
            nn.Conv1d(width, settings.hidden, 1), nn.SiLU(), nn.Conv1d(settings.hidden, settings.hidden, 1),
            nn.SiLU(), nn.Conv1d(settings.hidden, CHANNELS[settings.features], 1),
        )  # fmt: skip

    def forward(self, middle: Tensor, features: Tensor) -> Tensor:
        """Loss of one batch, without its weight.

        Args:
            middle: Middle of the network, ``(b, width, n)``.
            features: Features of the clean music, ``(b, channels, frames)``.
        """
        predicted = self.project(middle).float()
        predicted = F.interpolate(predicted, size=features.shape[-1], mode="linear", align_corners=False)
        if self.settings.kind == "regression":
            return F.mse_loss(predicted, features)
        cosine = 1 - F.cosine_similarity(predicted, features, dim=1).mean()
        return cosine + self.settings.manifold_weight * manifold_loss(predicted, features)

    def is_used_at(self, step: int) -> bool:
        """Whether the loss counts at an optimiser step."""
        return self.settings.until_step is None or step < self.settings.until_step


def manifold_loss(predicted: Tensor, features: Tensor) -> Tensor:
    """Mean squared difference between the similarities of all pairs of frames of a sample.

    Args:
        predicted: ``(b, c, n)``.
        features: ``(b, c, n)``.
    """
    units = [F.normalize(frames, dim=1) for frames in (predicted, features)]
    similarities = [unit.transpose(1, 2) @ unit for unit in units]
    return F.mse_loss(similarities[0], similarities[1])


@contextmanager
def inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record the first argument of every call of a module inside the block."""
    recorded: list[Tensor] = []

    def record(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        recorded.append(arguments[0])

    handle = module.register_forward_pre_hook(record)
    try:
        yield recorded
    finally:
        handle.remove()


def connected_zero(module: nn.Module) -> Tensor:
    """Zero that depends on every parameter: DDP waits for the gradients of all of them."""
    return torch.stack([0 * parameter.sum() for parameter in module.parameters()]).sum()
