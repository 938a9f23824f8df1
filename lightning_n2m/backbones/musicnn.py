"""musicnn (Pons and Serra 2019), a music tagger, with the trained weights that its package ships.

The same network was trained twice: on MagnaTagATune (``MTT``) and on the Million Song Dataset (``MSD``).
Their roles never mix, since the model that labels training data cannot also evaluate what was trained on
it: MSD may label, MTT evaluates (`lightning_n2m.evaluation`).
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_n2m.backbones.tensorflow_checkpoint import read_tensorflow_checkpoint
from lightning_n2m.errors import InputError

Corpus = Literal["MTT", "MSD"]

SAMPLE_RATE = 16_000
HOP = 256
PATCH = 187  # frames, 2.992 s: what the network was trained on
EMBEDDING = 200

_MTT = """\
guitar, classical, slow, techno, strings, drums, electronic, rock, fast, piano, ambient, beat, violin,
vocal, synth, female, indian, opera, male, singing, vocals, no vocals, harpsichord, loud, quiet, flute,
woman, male vocal, no vocal, pop, soft, sitar, solo, man, classic, choir, voice, new age, dance, male voice,
female vocal, beats, harp, cello, no voice, weird, country, metal, female voice, choral"""
_MSD = """\
rock, pop, alternative, indie, electronic, female vocalists, dance, 00s, alternative rock, jazz, beautiful,
metal, chillout, male vocalists, classic rock, soul, indie rock, Mellow, electronica, 80s, folk, 90s, chill,
instrumental, punk, oldies, blues, hard rock, ambient, acoustic, experimental, female vocalist, guitar,
Hip-Hop, 70s, party, country, easy listening, sexy, catchy, funk, electro, heavy metal, Progressive rock,
60s, rnb, indie pop, sad, House, happy"""

# The names of the outputs, in order and spelt as the original has them.
TAGS: dict[Corpus, tuple[str, ...]] = {
    "MTT": tuple(_MTT.replace("\n", " ").split(", ")),
    "MSD": tuple(_MSD.replace("\n", " ").split(", ")),
}


@dataclass(frozen=True)
class MusicnnOutput:
    """Outputs of musicnn for ``n`` patches of 3 s.

    Args:
        logits: Log-odds of each tag, ``(n, 50)``.
        embedding: Output of the penultimate layer, ``(n, 200)``.
        pooled: Input of that layer: maxima and means of all features over time, normalised, ``(n, 1506)``.
    """

    logits: Tensor
    embedding: Tensor
    pooled: Tensor

    @property
    def probabilities(self) -> Tensor:
        """Probability of each tag, ``(n, 50)``."""
        return self.logits.sigmoid()


class Musicnn(nn.Module):
    """Timbral and temporal filters over a log-mel, three convolutions, and a pooling over time.

    Args:
        tags: Names of the outputs.
    """

    def __init__(self, tags: tuple[str, ...]) -> None:
        super().__init__()
        self.tags = tags
        self.log_mel = LogMel()
        self.norm = _norm(1)
        # Timbral filters span 0.4 and 0.7 of the 96 mel channels, temporal filters one channel each.
        self.timbral = nn.ModuleList(_Timbral(height) for height in (38, 67))
        self.temporal = nn.ModuleList(_Temporal(length) for length in (128, 64, 32))
        self.middle = nn.ModuleList(_Middle(channels) for channels in (561, 64, 64))
        self.pooled_norm = _norm(2 * 753)
        self.dense = nn.Linear(2 * 753, EMBEDDING)
        self.dense_norm = _norm(EMBEDDING)
        self.output = nn.Linear(EMBEDDING, len(tags))

    def forward(self, audio: Tensor, step: int = PATCH) -> MusicnnOutput:
        """Cut 16 kHz audio into patches of 3 s and compute all of them in one batch.

        Args:
            audio: ``(b, 1, t)``, at least 3 s.
            step: Frames from one patch to the next; by default patches do not overlap.

        Returns:
            ``b * n`` patches, those of a clip consecutive: ``view(b, n, -1)`` separates the clips.
        """
        return self.predict_patches(patches(self.log_mel(audio), step).flatten(0, 1))

    def predict_patches(self, mel: Tensor) -> MusicnnOutput:
        """Compute the outputs for log-mel patches ``(n, 96, frames)``."""
        features = torch.cat(self.levels(mel), dim=1).float()
        pooled = torch.stack([features.amax(dim=2), features.mean(dim=2)], dim=2).flatten(1)
        pooled = self.pooled_norm(pooled)
        embedding = self.dense_norm(F.relu(self.dense(pooled)))
        return MusicnnOutput(self.output(embedding).float(), embedding.float(), pooled)

    def levels(self, mel: Tensor) -> list[Tensor]:
        """Features by time of a log-mel ``(n, 96, frames)``: the front end, then three convolutions.

        Returns:
            ``(n, 561, frames)`` and three times ``(n, 64, frames)``.
        """
        x = self.norm(mel[:, None])
        timbre = [part(x) for part in self.timbral]
        rhythm = [part(x) for part in self.temporal]
        frontend = torch.cat([*timbre, *rhythm], dim=1)
        # Three convolutions over time, the last two residual; the output layers take all their levels.
        x = self.middle[0](frontend)
        levels = [frontend, x]
        for part in self.middle[1:]:
            x = x + part(x)
            levels.append(x)
        return levels


class LogMel(nn.Module):
    """The front end of musicnn: ``log10(1 + 10000 * mel power)`` of 96 channels, 62.5 frames a second."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=512, hop_length=HOP, n_mels=96, norm="slaney", mel_scale="slaney",
            pad_mode="constant",
        )  # fmt: skip

    def forward(self, audio: Tensor) -> Tensor:
        """``(b, 1, t)`` at 16 kHz to ``(b, 96, t // 256 + 1)``."""
        with torch.autocast(audio.device.type, enabled=False):
            return torch.log10(1 + 10_000 * self.mel(audio.squeeze(1).float()))


def patches(mel: Tensor, step: int = PATCH) -> Tensor:
    """Cut ``(b, 96, frames)`` into ``(b, n, 96, 187)``; the rest at the end is dropped.

    Raises:
        InputError: if it is shorter than one patch.
    """
    if mel.shape[-1] < PATCH:
        raise InputError(
            f"musicnn needs patches of {PATCH * HOP / SAMPLE_RATE:.3g} s, but this audio has only "
            f"{(mel.shape[-1] - 1) * HOP / SAMPLE_RATE:.3g} s; give longer audio."
        )
    return mel.unfold(2, PATCH, step).transpose(1, 2)


def _norm(channels: int) -> _BatchNorm:
    return _BatchNorm(channels, eps=1e-3)  # TensorFlow's default


class _BatchNorm(nn.BatchNorm1d):
    """Batch normalisation whatever the number of axes behind the channels."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass


class _Timbral(nn.Module):
    """Filters of 7 frames and most of the spectrum, maximum over pitch."""

    def __init__(self, height: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 204, (height, 7), padding=(0, 3)), _norm(204)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 1, 96, frames)`` to ``(n, 204, frames)``."""
        return _strongest(x, self.conv, self.norm)


class _Temporal(nn.Module):
    """Long filters over single mel channels, maximum over the channels."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.padding = ((length - 1) // 2, length // 2)
        self.conv, self.norm = nn.Conv2d(1, 51, (1, length)), _norm(51)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, 1, 96, frames)`` to ``(n, 51, frames)``."""
        return _strongest(F.pad(x, self.padding), self.conv, self.norm)


def _strongest(x: Tensor, conv: nn.Conv2d, norm: _BatchNorm) -> Tensor:
    """Maximum of ``norm(relu(conv(x)))`` over the mel axis, without storing the three results.

    ReLU and norm are monotone in every channel, decreasing where the norm's weight is negative. There the
    sign of the filter is flipped, so that one maximum serves all channels. This is four times faster than
    the literal form.
    """
    sign = norm.weight.sign()
    assert conv.bias is not None
    x = x.to(memory_format=torch.channels_last)
    response = F.conv2d(x, conv.weight * sign[:, None, None, None], conv.bias * sign, padding=conv.padding)
    strongest = F.max_pool2d(response, (response.shape[2], 1))[:, :, 0]
    return norm(F.relu(strongest * sign[:, None]))


class _Middle(nn.Module):
    """One of the three convolutions over time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(channels, 64, 7, padding=3), _norm(64)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c, frames)`` to ``(n, 64, frames)``."""
        return self.norm(F.relu(self.conv(x)))


@cache
def load_musicnn(corpus: Corpus) -> Musicnn:
    """The trained network, frozen and in evaluation mode; loaded once per process.

    Args:
        corpus: ``MTT`` or ``MSD``, what it was trained on; see the top of this file for their roles.

    Raises:
        InputError: if the package that ships the weights is not installed.
    """
    package = importlib.util.find_spec("musicnn")  # not imported, since that would import TensorFlow
    if package is None or not package.submodule_search_locations:
        raise InputError(
            "The music tagger's weights are not installed; run "
            "'pip install --no-deps -r requirements-no-deps.txt'."
        )
    folder = Path(package.submodule_search_locations[0]) / f"{corpus}_musicnn"
    network = Musicnn(TAGS[corpus])
    missing, unexpected = network.load_state_dict(
        _state(read_tensorflow_checkpoint(f"{folder}/")), strict=False
    )
    assert not unexpected and all(
        key.startswith("log_mel.") or key.endswith("num_batches_tracked") for key in missing
    )
    return network.eval().requires_grad_(False)


_CONVOLUTIONS = tuple(
    f"{kind}.{i}" for kind, n in (("timbral", 2), ("temporal", 3), ("middle", 3)) for i in range(n)
)
_NORMS = ("norm", *(f"{name}.norm" for name in _CONVOLUTIONS), "pooled_norm", "dense_norm")
_STATISTICS = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _state(variables: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    """Convert TensorFlow's variables, numbered in order of creation, to the names and axes of `Musicnn`."""

    def variable(kind: str, number: int, name: str) -> Tensor:
        return torch.from_numpy(variables[f"{kind}{f'_{number}' if number else ''}/{name}"])

    state = {}
    for number, name in enumerate(_NORMS):
        for tensorflow_name, torch_name in _STATISTICS.items():
            state[f"{name}.{torch_name}"] = variable("batch_normalization", number, tensorflow_name)
    for number, name in enumerate(_CONVOLUTIONS):
        kernel = variable("conv2d", number, "kernel")  # (frames, mel channels, in, out)
        # TensorFlow has the middle convolutions in two dimensions, the second of length one.
        weight = kernel.permute(3, 1, 0, 2)[..., 0] if "middle" in name else kernel.permute(3, 2, 1, 0)
        state[f"{name}.conv.weight"] = weight.contiguous()
        state[f"{name}.conv.bias"] = variable("conv2d", number, "bias")
    for number, name in enumerate(("dense", "output")):
        state[f"{name}.weight"] = variable("dense", number, "kernel").T.contiguous()
        state[f"{name}.bias"] = variable("dense", number, "bias")
    return state
