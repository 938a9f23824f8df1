"""aiSFX (Ma and Lerch 2022), a sound-effects classifier, with the trained weights that its package ships.

It was trained on sound effects and covers the whole band of 44.1 kHz: a second embedding beside the music
tagger for Fréchet and kernel distances, as VGGish is in the paper.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from lightning_n2m.errors import InputError

SAMPLE_RATE = 44_100
HOP = 1024
PATCH = 100  # frames, 2.32 s
EMBEDDING = 512
_LOUDEST = 9.457798957824707  # the largest log-mel of its training data, which it divides by


class AiSfx(nn.Module):
    """Four blocks of two 3 x 3 convolutions over a log-mel; mean over mel channels, maximum over time."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=2048, hop_length=HOP, n_mels=96, pad_mode="constant"
        )
        # Each filter sums to one, over its own bins: the "norm=1" of the original, which torchaudio lacks.
        filters = self.mel.mel_scale.fb
        self.mel.mel_scale.fb = filters / filters.sum(dim=0).clamp(min=1e-8)
        widths = (1, 64, 128, 256, 512)
        self.blocks = nn.ModuleList(_Block(a, b) for a, b in pairwise(widths))

    def log_mel(self, audio: Tensor) -> Tensor:
        """``(b, 1, t)`` at 44.1 kHz to ``(b, frames, 96)`` in [0, 1]; each clip is scaled to full level."""
        with torch.autocast(audio.device.type, enabled=False):
            loud = audio.float() / audio.abs().amax(dim=-1, keepdim=True).clamp(min=1e-8)
            return torch.log10(1 + 10_000 * self.mel(loud.squeeze(1))).transpose(1, 2) / _LOUDEST

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel patches ``(n, 100, 96)`` to embeddings ``(n, 512)``."""
        x = mel[:, None].to(memory_format=torch.channels_last)
        for number, block in enumerate(self.blocks, start=1):
            x = block(x)
            if number < len(self.blocks):
                x = F.max_pool2d(x, 2)
        return x.float().mean(dim=3).amax(dim=2)


class _Block(nn.Module):
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(c_out), nn.BatchNorm2d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        """``(n, c_in, h, w)`` to ``(n, c_out, h, w)``."""
        return F.relu(self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


@cache
def load_aisfx() -> AiSfx:
    """The trained network, frozen and in evaluation mode; loaded once per process.

    Raises:
        InputError: if the package that ships the weights is not installed.
    """
    package = importlib.util.find_spec("aisfx")
    if package is None or not package.submodule_search_locations:
        raise InputError(
            "The weights of aiSFX are not installed; run 'pip install --no-deps -r requirements-no-deps.txt'."
        )
    path = Path(package.submodule_search_locations[0]) / "models" / "checkpoint.pth"
    # The file also holds class counts as NumPy scalars, under the module name of NumPy 1.
    scalar = np.float64(0).__reduce__()[0]
    allowed: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), np.dtype, np.dtypes.Int64DType]
    with torch.serialization.safe_globals(allowed):
        weights, _ = torch.load(path, map_location="cpu", weights_only=True)
    network = AiSfx()
    prefix = "embedding_net.conv_block"
    state = {
        f"blocks.{int(key[len(prefix)]) - 1}{key[len(prefix) + 1 :]}": tensor
        for key, tensor in weights.items()
        if key.startswith(prefix)
    }
    _, unexpected = network.load_state_dict(state, strict=False)
    assert not unexpected and len(state) == 4 * 12
    return network.eval().requires_grad_(False)
