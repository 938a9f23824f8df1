"""Derived forms of a clip: what a stage needs of it, made once.

A generator that trains on 3.2 kHz would decode 24 kHz audio only to throw most of it away. So a shard
folder may hold, in sub-folders with an index of their own, the same clips at a lower rate (``3200/``)
or as log-mels (``mel/``): the very same filters run over the whole clip, and the result is kept as
whole numbers, which need no decoding at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import reach, resample
from lightning_n2m.data.schema import Index, Shard

# Stands for 1: resampling may go beyond full scale, and log-mels of loud music do, but never to 2.
_ONE = 1 << 14
MEL = "mel"


@dataclass(frozen=True)
class TrainingFormat:
    """What a stage trains on: audio at a rate, or its log-mel.

    Args:
        sample_rate: Rate of the audio in Hz.
        mel: Analysis, where it is the log-mel that is asked for; its rate is then ``sample_rate``.
    """

    sample_rate: int
    mel: MelSettings | None = None

    @property
    def name(self) -> str:
        """Name of its folder beside the shards."""
        return MEL if self.mel else str(self.sample_rate)

    @property
    def step(self) -> int:
        """Samples of this rate between two places at which a crop may begin; see `grid`."""
        return self.mel.hop if self.mel else 1

    def grid(self, master_rate: int) -> tuple[int, int]:
        """Distance of places that are whole samples (or frames) in both forms: in the master and in this one.

        Crops that begin there are the same however they come about.
        """
        common = math.gcd(master_rate, self.sample_rate)
        here = math.lcm(self.sample_rate // common, self.step)
        return here * master_rate // self.sample_rate, here // self.step

    def margin(self, master_rate: int) -> int:
        """Samples of the master on either side that this form depends on."""
        window = self.mel.window if self.mel else 0
        return reach(master_rate, self.sample_rate) + math.ceil(window * master_rate / self.sample_rate)

    def length(self, seconds: float) -> int:
        """Samples or frames of so many seconds."""
        return round(seconds * self.sample_rate) // self.step

    def of(self, audio: Tensor, sample_rate: int) -> Tensor:
        """This form of audio ``(1, time)``: ``(1, time)``, or ``(channels, frames)``."""
        samples = resample(audio, sample_rate, self.sample_rate)
        return log_mel(samples[None], self.mel)[0] if self.mel else samples

    def settings(self, parents: Sequence[Shard]) -> dict[str, object]:
        """What tells in an index which form was derived from which shards."""
        mel = dataclasses.asdict(self.mel) if self.mel else None
        whole = hashlib.sha256("".join(shard.sha256 for shard in parents).encode()).hexdigest()
        return {"sample_rate": self.sample_rate, "mel": mel, "parents": whole}

    def is_of(self, index: Index) -> bool:
        """Whether a derived folder holds this very form."""
        wanted = self.settings(())
        return all(index.settings.get(key) == wanted[key] for key in ("sample_rate", "mel"))


def to_bytes(values: Tensor) -> bytes:
    """Keep ``(channels, steps)`` as 16-bit whole numbers, step by step."""
    whole = (values * _ONE).round().clamp(-(1 << 15), (1 << 15) - 1).to(torch.int16)
    stream = io.BytesIO()
    np.save(stream, whole.T.contiguous().numpy(), allow_pickle=False)
    return stream.getvalue()


def is_derived(data: bytes) -> bool:
    """Whether a clip is in a derived form."""
    return data[:6] == b"\x93NUMPY"


def from_bytes(data: bytes, start: int, length: int) -> Tensor:
    """Steps of what `to_bytes` kept: ``(channels, length)``.

    Raises:
        ValueError: if the bytes are damaged, or hold fewer steps.
    """
    whole = np.load(io.BytesIO(data), allow_pickle=False)
    if whole.ndim != 2 or whole.dtype != np.int16 or len(whole) < start + length:
        raise ValueError(f"it holds {whole.shape} numbers, but {start + length} steps are needed")
    part = np.ascontiguousarray(whole[start : start + length].T)
    return torch.from_numpy(part.astype(np.float32) / _ONE)
