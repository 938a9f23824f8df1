"""Embedding models for Fréchet and kernel distances: one protocol, several models.

Deviation: TRILL, the second of the paper's three embeddings, is missing. It is published as a TensorFlow
SavedModel only, and neither weights nor a conversion come as a package. MuLan is replaced by any joint model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import aisfx, musicnn, vggish
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.joint import JointModel, windows
from lightning_n2m.mulan.loading import load_joint

# musicnn trained on MSD labels training data, so only the one trained on MTT may evaluate.
EVALUATION_CORPUS: musicnn.Corpus = "MTT"
MUSICNN = f"musicnn-{EVALUATION_CORPUS}"
MUSICNN_STEP = 62  # frames, 0.99 s: eight patches of 10 s, so that 128 clips give more than 1,000


class Embedder(Protocol):
    """Turns clips into embeddings of their patches.

    Attributes:
        name: Name that is printed beside every value.
        sample_rate: Rate of its input in Hz; clips of other rates are resampled.
        dimension: Length of an embedding.
    """

    name: str
    sample_rate: int
    dimension: int

    def embed(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Clips ``(b, 1, t)`` to ``(b, patches, dimension)``, computed on the device of the audio."""


@dataclass
class PatchEmbedder:
    """A network that embeds patches of a log-mel.

    Args:
        name: Name that is printed beside every value.
        sample_rate: Rate of its input in Hz.
        dimension: Length of an embedding.
        network: The network; it is moved to the device of the audio.
        log_mel: ``(b, 1, t)`` to ``(b, frames, channels)``.
        embed_patches: Patches ``(n, frames, channels)`` to ``(n, dimension)``.
        patch: Frames of a patch.
        step: Frames from one patch to the next.
        hop: Samples of a frame.
    """

    name: str
    sample_rate: int
    dimension: int
    network: nn.Module
    log_mel: Callable[[Tensor], Tensor]
    embed_patches: Callable[[Tensor], Tensor]
    patch: int
    step: int
    hop: int

    @torch.no_grad()
    def embed(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Clips ``(b, 1, t)`` to ``(b, patches, dimension)``, computed on the device of the audio.

        Raises:
            InputError: if the audio is shorter than a patch.
        """
        self.network.to(audio.device)
        mel = self.log_mel(resample(audio, sample_rate, self.sample_rate))
        if mel.shape[1] < self.patch:
            raise InputError(
                f"{self.name} needs patches of {self.patch * self.hop / self.sample_rate:.3g} s, but this "
                f"audio has only {audio.shape[-1] / sample_rate:.3g} s; give longer audio."
            )
        patches = mel.unfold(1, self.patch, self.step).transpose(2, 3)
        return self.embed_patches(patches.flatten(0, 1)).float().unflatten(0, patches.shape[:2])


def musicnn_embedder() -> PatchEmbedder:
    """Penultimate layer of the evaluating tagger: 200 values of 3 s, about every second."""
    network = musicnn.load_musicnn(EVALUATION_CORPUS)
    return PatchEmbedder(
        MUSICNN,
        musicnn.SAMPLE_RATE,
        musicnn.EMBEDDING,
        network,
        partial(_musicnn_log_mel, network),
        partial(_musicnn_patches, network),
        musicnn.PATCH,
        MUSICNN_STEP,
        musicnn.HOP,
    )


def _musicnn_log_mel(network: musicnn.Musicnn, audio: Tensor) -> Tensor:
    mel: Tensor = network.log_mel(audio)
    return mel.transpose(1, 2)


def _musicnn_patches(network: musicnn.Musicnn, patches: Tensor) -> Tensor:
    return network.predict_patches(patches.transpose(1, 2)).embedding


def aisfx_embedder() -> PatchEmbedder:
    """The sound-effects classifier: 512 values of 2.3 s, about every second."""
    network = aisfx.load_aisfx()
    return PatchEmbedder(
        "aisfx",
        aisfx.SAMPLE_RATE,
        aisfx.EMBEDDING,
        network,
        network.log_mel,
        network,
        aisfx.PATCH,
        40,
        aisfx.HOP,
    )


def vggish_embedder(weights: str) -> PatchEmbedder:
    """VGGish from a file of weights: 128 values of 0.96 s; the paper's first distance.

    Raises:
        InputError: if the file does not hold VGGish.
    """
    network = vggish.load_vggish(weights)
    return PatchEmbedder(
        "vggish",
        vggish.SAMPLE_RATE,
        vggish.EMBEDDING,
        network,
        network.log_mel,
        network,
        vggish.PATCH,
        vggish.PATCH,
        vggish.HOP,
    )


class JointEmbedder:
    """The audio tower of a joint model, clip by clip: CLAP, MuQ-MuLan or this project's towers.

    Args:
        model: The joint model.
    """

    def __init__(self, model: JointModel) -> None:
        self.model = model
        self.name, self.sample_rate, self.dimension = model.name, model.sample_rate, model.dimension

    @torch.no_grad()
    def embed(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Clips ``(b, 1, t)`` to ``(b, windows of 10 s, dimension)``."""
        parts = windows(resample(audio.squeeze(1), sample_rate, self.sample_rate), self.sample_rate)
        return self.model.embed_audio(parts.flatten(0, 1)).float().unflatten(0, parts.shape[:2])


def load_embedder(name: str, device: torch.device | str = "cpu") -> Embedder:
    """Load an embedder by name.

    Args:
        name: ``musicnn`` or ``aisfx``, whose weights are packages of this project; ``vggish:FILE``; or any
            location of a joint model that `lightning_n2m.mulan.loading.load_joint` knows.
        device: Device of a joint model; the other embedders follow the audio.

    Raises:
        InputError: if there is none of that name, or its weights are missing.
    """
    if name == "musicnn":
        return musicnn_embedder()
    if name == "aisfx":
        return aisfx_embedder()
    if name.startswith("vggish:"):
        return vggish_embedder(name.removeprefix("vggish:"))
    return JointEmbedder(load_joint_on(name, device))


def load_joint_on(place: str, device: torch.device | str) -> JointModel:
    """Load a joint model and move it to a device.

    Args:
        place: See `lightning_n2m.mulan.loading.load_joint`.
        device: Where it computes.

    Raises:
        InputError: if there is no such model.
    """
    model = load_joint(place)
    # This project's towers are a module; adapters of other models hold one.
    for module in (model, getattr(model, "_model", None)):
        if isinstance(module, nn.Module):
            module.to(device)
    return model
