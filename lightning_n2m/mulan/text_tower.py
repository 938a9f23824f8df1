"""The text tower: a frozen language model with a trained projection."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_n2m.conditioning.text import TextEncoder


class TextTower(nn.Module):
    """The mean of a frozen encoder's token vectors, and two layers that are trained on it.

    Args:
        encoder: The frozen language model; it is not registered, so checkpoints do not hold it.
        channels: Length of its token vectors.
        dimension: Length of the vector.
        hidden: Width of the layer between.
        dropout: Share of channels that are hidden in training.
    """

    def __init__(
        self,
        encoder: TextEncoder,
        channels: int = 384,
        dimension: int = 128,
        hidden: int = 512,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.dimension = encoder, dimension
        self._known: OrderedDict[str, Tensor] = OrderedDict()
        self.project = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Dropout(dropout),
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimension),
        )

    def features(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """Sentence vectors ``(n, channels)`` of the frozen model; ``encoder.cache`` of them are kept."""
        found = {text: self._known[text] for text in texts if text in self._known}
        missing = list(dict.fromkeys(text for text in texts if text not in found))
        for start in range(0, len(missing), 64):
            part = missing[start : start + 64]
            encoded = self.encoder.encode(part, device)
            present = encoded.mask[..., None].float()
            found.update(zip(part, (encoded.states * present).sum(dim=1) / present.sum(dim=1), strict=True))
        for text in found:
            self._known[text] = found[text].cpu()
            self._known.move_to_end(text)
        while len(self._known) > self.encoder.cache:
            self._known.popitem(last=False)
        return torch.stack([found[text].to(device) for text in texts])

    def forward(self, features: Tensor) -> Tensor:
        """Sentence vectors ``(n, channels)`` to ``(n, dimension)``."""
        return self.project(features)
