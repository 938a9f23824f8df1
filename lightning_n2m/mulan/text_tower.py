"""The text tower: a frozen language model with a trained projection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_n2m.conditioning.tensor_cache import TensorCache
from lightning_n2m.conditioning.text import TextEncoder

_BATCH = 64  # Texts that are encoded at a time.


class TextTower(nn.Module):
    """The mean of a frozen encoder's token vectors, and two trained layers.

    Args:
        encoder: The frozen language model; it is not a submodule, so checkpoints do not hold it.
        channels: Length of its token vectors.
        dimension: Length of the vector.
        hidden: Width of the hidden layer.
        dropout: Dropout rate.
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
        self._cache = TensorCache(encoder.cache_bytes)
        self.project = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Dropout(dropout),
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimension),
        )

    def features(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """Sentence vectors ``(n, channels)`` of the frozen model; ``encoder.cache_bytes`` are kept."""
        vectors: dict[str, Tensor] = {}
        missing = []
        for text in dict.fromkeys(texts):
            vector = self._cache.get(text)
            if vector is None:
                missing.append(text)
            else:
                vectors[text] = vector
        for start in range(0, len(missing), _BATCH):
            part = missing[start : start + _BATCH]
            encoded = self.encoder.encode(part, device)
            # Mean over the tokens of each text.
            present = encoded.mask[..., None].float()
            means = (encoded.states * present).sum(dim=1) / present.sum(dim=1)
            vectors.update(zip(part, means, strict=True))
        for text in texts:
            self._cache.put(text, vectors[text].cpu())
        return torch.stack([vectors[text].to(device) for text in texts])

    def forward(self, features: Tensor) -> Tensor:
        """Sentence vectors ``(n, channels)`` to ``(n, dimension)``."""
        return self.project(features)
