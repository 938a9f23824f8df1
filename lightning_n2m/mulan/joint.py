"""The interface of a joint music-text model, and what follows from it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

WINDOW_SECONDS = 10.0


class JointModel(Protocol):
    """Audio and text on one unit sphere, where what belongs together lies close together."""

    @property
    def name(self) -> str:
        """What it is, with a fingerprint of its weights: embeddings of two models do not mix."""

    @property
    def sample_rate(self) -> int:
        """Rate of the audio that it takes, in Hz."""

    @property
    def dimension(self) -> int:
        """Length of its embeddings."""

    def embed_audio(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` of some ten seconds to unit vectors ``(b, dimension)``."""

    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, dimension)``."""


def windows(audio: Tensor, sample_rate: int, seconds: float = WINDOW_SECONDS) -> Tensor:
    """Cut clips ``(b, t)`` into windows that do not overlap: ``(b, windows, seconds * sample_rate)``.

    What is left after the last whole window is dropped (section 3.6 of the paper is silent); a clip
    that is shorter than a window is repeated until it fills one.
    """
    length = round(seconds * sample_rate)
    if audio.shape[-1] < length:
        audio = audio.repeat(1, -(-length // audio.shape[-1]))[:, :length]
    return audio[:, : audio.shape[-1] // length * length].unflatten(-1, (-1, length))


def average(vectors: Tensor) -> Tensor:
    """Unit vectors ``(b, windows, d)`` of the windows of a clip to one of the clip, ``(b, d)``."""
    return nn.functional.normalize(vectors.mean(dim=-2), dim=-1)


def embed_clips(model: JointModel, audio: Tensor) -> Tensor:
    """Embed clips ``(b, t)`` of any length: windows of ten seconds, averaged (section 3.6 of the paper).

    Returns:
        Unit vectors ``(b, dimension)``.
    """
    parts = windows(audio, model.sample_rate)
    return average(model.embed_audio(parts.flatten(0, 1)).unflatten(0, parts.shape[:2]))


def fingerprint(tensors: Iterable[Tensor]) -> str:
    """12 hexadecimal digits that other weights would change."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:12]
