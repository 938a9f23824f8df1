"""What every joint music-text model can do, and where one is loaded from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

from lightning_n2m.errors import InputError

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


def load_joint(place: str) -> JointModel:
    """Load a joint model, ready to embed.

    Args:
        place: A folder that ``export`` wrote, or that of a run, for our own two towers; a folder or hub name
            of CLAP (`transformers.ClapModel`); ``muq:`` and a folder or hub name for MuQ-MuLan.

    Raises:
        InputError: if there is no such model, or its weights are missing.
    """
    from lightning_n2m.mulan.bundle import load_towers
    from lightning_n2m.mulan.clap import Clap

    if place.startswith("muq:"):
        from lightning_n2m.mulan.muq import MuQMuLan

        return MuQMuLan(place.removeprefix("muq:"))
    folder = Path(place)
    if (folder / "config.yaml").is_file():
        return load_towers(folder)
    if not folder.is_dir():
        if place.startswith((".", "/")) or "/" not in place:
            raise InputError(
                f"The joint model {place} does not exist; give --joint a folder that 'export' wrote, or the "
                "folder or hub name of a CLAP."
            )
        return Clap(place)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds neither config.yaml nor a config.json with a model type, so it is no joint "
            "model; give a folder that 'export' or save_pretrained wrote."
        ) from error
    if kind != "clap":
        raise InputError(f"{folder} holds a model of type '{kind}', not a CLAP; give --joint another folder.")
    return Clap(place)
