"""What turns audio into embeddings for Fréchet distances: one protocol, exchangeable models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import aisfx, musicnn, vggish
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.joint import JointModel, windows
from lightning_n2m.mulan.loading import load_joint

# The tagger that judges. The other one, MSD, labels training data: it would mark its own work.
JUDGE: musicnn.Corpus = "MTT"
MUSICNN = f"musicnn-{JUDGE}"
MUSICNN_STEP = 62  # frames, 0.99 s: eight patches of 10 s, so that 128 clips give more than 1,000


class Embedder(Protocol):
    """Turns clips into embeddings of their patches.

    Attributes:
        name: What it is, to be printed beside every number.
        sample_rate: Rate that it hears, in Hz; other rates are brought to it.
        dimension: Length of an embedding.
    """

    name: str
    sample_rate: int
    dimension: int

    def embed(self, audio: Tensor, sample_rate: int) -> Tensor:
        """ClipPairs ``(b, 1, t)`` to ``(b, patches, dimension)``."""


@dataclass
class PatchEmbedder:
    """A network that hears patches of a log-mel.

    Args:
        name: What it is.
        sample_rate: Rate that it hears, in Hz.
        dimension: Length of an embedding.
        log_mel: ``(b, 1, t)`` to ``(b, frames, channels)``.
        network: Patches ``(n, frames, channels)`` to ``(n, dimension)``.
        patch: Frames of a patch.
        step: Frames from one patch to the next.
        hop: Samples of a frame.
    """

    name: str
    sample_rate: int
    dimension: int
    log_mel: Callable[[Tensor], Tensor]
    network: Callable[[Tensor], Tensor]
    patch: int
    step: int
    hop: int

    @torch.no_grad()
    def embed(self, audio: Tensor, sample_rate: int) -> Tensor:
        """ClipPairs ``(b, 1, t)`` to ``(b, patches, dimension)``.

        Raises:
            InputError: if the audio is shorter than a patch.
        """
        mel = self.log_mel(resample(audio, sample_rate, self.sample_rate))
        if mel.shape[1] < self.patch:
            raise InputError(
                f"{self.name} hears patches of {self.patch * self.hop / self.sample_rate:.3g} s, but this "
                f"audio has only {audio.shape[-1] / sample_rate:.3g} s; give longer audio."
            )
        cut = mel.unfold(1, self.patch, self.step).transpose(2, 3)
        return self.network(cut.flatten(0, 1)).float().unflatten(0, cut.shape[:2])


def musicnn_embedder() -> PatchEmbedder:
    """The judging tagger's penultimate layer, 200 numbers for 3 s, about every second."""
    network = musicnn.load_musicnn(JUDGE)
    return PatchEmbedder(
        MUSICNN,
        musicnn.SAMPLE_RATE,
        musicnn.EMBEDDING,
        partial(_rows_of_mel, network),
        partial(_hear_rows, network),
        musicnn.PATCH,
        MUSICNN_STEP,
        musicnn.HOP,
    )


def _rows_of_mel(network: musicnn.Musicnn, audio: Tensor) -> Tensor:
    rows: Tensor = network.log_mel(audio).transpose(1, 2)
    return rows


def _hear_rows(network: musicnn.Musicnn, patches: Tensor) -> Tensor:
    return network.hear(patches.transpose(1, 2)).embedding


def aisfx_embedder() -> PatchEmbedder:
    """The sound-effects classifier, 512 numbers for 2.3 s, about every second."""
    network = aisfx.load_aisfx()
    return PatchEmbedder(
        "aisfx",
        aisfx.SAMPLE_RATE,
        aisfx.EMBEDDING,
        network.log_mel,
        network,
        aisfx.PATCH,
        40,
        aisfx.HOP,
    )


def vggish_embedder(weights: str) -> PatchEmbedder:
    """VGGish from a file of weights, 128 numbers for 0.96 s: the paper's first distance.

    Raises:
        InputError: if the file does not hold VGGish.
    """
    network = vggish.load_vggish(weights)
    return PatchEmbedder(
        "vggish",
        vggish.SAMPLE_RATE,
        vggish.EMBEDDING,
        network.log_mel,
        network,
        vggish.PATCH,
        vggish.PATCH,
        vggish.HOP,
    )


class JointEmbedder:
    """The audio tower of a joint model, clip by clip: CLAP, MuQ-MuLan or our own towers.

    Args:
        model: The joint model.
    """

    def __init__(self, model: JointModel) -> None:
        self.model = model
        self.name, self.sample_rate, self.dimension = model.name, model.sample_rate, model.dimension

    @torch.no_grad()
    def embed(self, audio: Tensor, sample_rate: int) -> Tensor:
        """ClipPairs ``(b, 1, t)`` to ``(b, windows of 10 s, dimension)``."""
        parts = windows(resample(audio.squeeze(1), sample_rate, self.sample_rate), self.sample_rate)
        return self.model.embed_audio(parts.flatten(0, 1)).float().unflatten(0, parts.shape[:2])


def load_embedder(name: str) -> Embedder:
    """An embedder by name.

    Args:
        name: ``musicnn`` or ``aisfx``, whose weights are packages of this project; ``vggish:FILE``; or any
            place of a joint model that `lightning_n2m.mulan.joint.load_joint` knows.

    Raises:
        InputError: if there is none of that name, or its weights are missing.
    """
    if name == "musicnn":
        return musicnn_embedder()
    if name == "aisfx":
        return aisfx_embedder()
    if name.startswith("vggish:"):
        return vggish_embedder(name.removeprefix("vggish:"))
    return JointEmbedder(load_joint(name))
