"""Derived forms of a clip: the low-rate audio or log-mel that a stage trains on, computed once.

A generator that trains on 3.2 kHz would decode 24 kHz audio and discard most of it. So a shard folder may
hold, in sub-folders with an index of their own, the same clips at a lower rate (``3200/``) or as log-mels
(``mel/``). The same filters run over the whole clip, and the result is stored as 16-bit integers, which
need no decoding.
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

# Stands for 1: resampled audio and log-mels of loud music may exceed full scale, but never reach 2.
_ONE = 1 << 14
MEL = "mel"


@dataclass(frozen=True)
class TrainingFormat:
    """What a stage trains on: audio at a rate, or its log-mel.

    Args:
        sample_rate: Rate of the audio in Hz.
        mel: Analysis of the log-mel, whose rate is then ``sample_rate``; null for audio.
    """

    sample_rate: int
    mel: MelSettings | None = None

    @property
    def name(self) -> str:
        """Name of its folder beside the shards."""
        return MEL if self.mel else str(self.sample_rate)

    @property
    def channels(self) -> int:
        """Channels of a clip in this form."""
        return self.mel.channels if self.mel else 1

    @property
    def step(self) -> int:
        """Samples of this rate between two possible starts of a crop; see `grid`."""
        return self.mel.hop if self.mel else 1

    def grid(self, master_rate: int) -> tuple[int, int]:
        """Distance of positions that are whole samples (or frames) both in the master and in this form.

        A crop that begins at such a position is the same from the master and from the derived form.

        Returns:
            The distance in samples of the master, and in samples (or frames) of this form.
        """
        common = math.gcd(master_rate, self.sample_rate)
        distance = math.lcm(self.sample_rate // common, self.step)
        return distance * master_rate // self.sample_rate, distance // self.step

    def margin(self, master_rate: int) -> int:
        """Samples of the master on either side that this form depends on."""
        window = self.mel.window if self.mel else 0
        return reach(master_rate, self.sample_rate) + math.ceil(window * master_rate / self.sample_rate)

    def length(self, seconds: float) -> int:
        """Samples or frames of a duration."""
        return round(seconds * self.sample_rate) // self.step

    def of(self, audio: Tensor, sample_rate: int) -> Tensor:
        """This form of audio ``(1, time)``: ``(1, time)``, or ``(channels, frames)``."""
        samples = resample(audio, sample_rate, self.sample_rate)
        return log_mel(samples[None], self.mel)[0] if self.mel else samples

    def settings(self, parents: Sequence[Shard]) -> dict[str, object]:
        """The settings of a derived index: which form was derived from which shards."""
        mel = dataclasses.asdict(self.mel) if self.mel else None
        digest = hashlib.sha256("".join(shard.sha256 for shard in parents).encode()).hexdigest()
        return {"sample_rate": self.sample_rate, "mel": mel, "parents": digest}

    def is_of(self, index: Index) -> bool:
        """Whether a derived folder holds this form with the same settings."""
        expected = self.settings(())
        return all(index.settings.get(key) == expected[key] for key in ("sample_rate", "mel"))


def to_bytes(values: Tensor) -> bytes:
    """Store ``(channels, steps)`` as 16-bit integers, step by step, in NumPy's file format."""
    integers = (values * _ONE).round().clamp(-(1 << 15), (1 << 15) - 1).to(torch.int16)
    stream = io.BytesIO()
    np.save(stream, integers.T.contiguous().numpy(), allow_pickle=False)
    return stream.getvalue()


def is_derived(data: bytes) -> bool:
    """Whether the bytes of a clip are in a derived form."""
    return data[:6] == b"\x93NUMPY"


def from_bytes(data: bytes, start: int, length: int, channels: int) -> Tensor:
    """Steps of what `to_bytes` stored: ``(channels, length)``.

    The header is untrusted: memory is allocated for the bytes that exist, not for the shape that it states.

    Raises:
        ValueError: if the bytes are damaged, hold fewer steps, or another number of channels.
    """
    values = _view(data)
    if values.shape[1] != channels:
        raise ValueError(f"it has {values.shape[1]} channels, but {channels} are needed")
    if len(values) < start + length:
        raise ValueError(f"it has {len(values)} steps, but {start + length} are needed")
    part = np.ascontiguousarray(values[start : start + length].T)
    return torch.from_numpy(part.astype(np.float32) / _ONE)


def derived_shape(data: bytes) -> tuple[int, int]:
    """Steps and channels of what `to_bytes` stored.

    Raises:
        ValueError: if the bytes are damaged.
    """
    steps, channels = _view(data).shape
    return steps, channels


def _view(data: bytes) -> np.ndarray:
    """The stored integers ``(steps, channels)``, without a copy."""
    stream = io.BytesIO(data)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("its array has another version than 1.0")
    try:
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except Exception as error:  # NumPy evaluates the header as a Python literal, which raises many kinds
        raise ValueError("the header of its array is damaged") from error
    offset = stream.tell()  # prose: allow
    if len(shape) != 2 or dtype != np.int16 or fortran_order:
        raise ValueError(f"its array has the shape {shape} and type {dtype}, not (steps, channels) of int16")
    if min(shape) < 1 or math.prod(shape) * 2 != len(data) - offset:
        raise ValueError(f"its array states the shape {shape}, which its {len(data)} bytes do not hold")
    return np.frombuffer(data, np.int16, offset=offset).reshape(shape)
