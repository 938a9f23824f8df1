"""An acoustic signature: the same recording keeps it through lossy coding, resampling and a change of gain.

As in Haitsma and Kalker's fingerprints (ISMIR 2002), a bit says whether the difference of two
neighbouring bands grows from one moment to the next. Here the moments are equal parts of the whole
track, so that all of a track comes to 512 bits, and lossy coding, which changes little of what
seconds of music hold in a band, changes few of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy
    from torch import Tensor

PARTS = 33  # Equal parts of a track: 32 steps from one to the next.
BANDS = 17  # Bands, evenly spaced in log frequency: 16 differences of neighbours.
BITS = (PARTS - 1) * (BANDS - 1)
_LOWEST, _HIGHEST = 200.0, 3600.0  # Hz: what telephone-grade copies still hold.
_FRAME = 0.0929  # Seconds of a transform, about: its length is one that is transformed fast.
_FLOOR = 1e-5  # Energy, relative to the mean of the track, below which a band is taken for silent.
_STEP = 0.01  # Log energy by which a difference must grow: silence, which does not, gives zeros.


class Signature:
    """Computes the signature of a track from its blocks.

    Args:
        sample_rate: Rate of the track in Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        import numpy as np
        import torch

        self.length = 64 * max(1, round(_FRAME * sample_rate / 64))
        self.hop = self.length // 4
        frequency = torch.fft.rfftfreq(self.length, 1 / sample_rate)
        position = (frequency.clamp(min=1) / _LOWEST).log() / math.log(_HIGHEST / _LOWEST) * BANDS - 0.5
        # (bins, bands): triangles, since the bins of another rate lie elsewhere, and edges would matter.
        self.bands = (1 - (position[:, None] - torch.arange(BANDS)).abs()).clamp(min=0)
        self.bands = self.bands[position < BANDS]
        self.window = torch.hann_window(self.length)
        # One growing array (frames, bands): a small tensor per block would pin the large ones between them
        # in the heap, which then grows with the track.
        self.energies = np.zeros((1024, BANDS), np.float32)
        self.frames = 0
        self.rest = torch.zeros(0)

    def add(self, mono: Tensor) -> None:
        """Add the next block ``(1, time)``."""
        import numpy as np
        import torch

        samples = torch.cat([self.rest, mono[0]])
        if len(samples) >= self.length:
            frames = samples.unfold(0, self.length, self.hop)
            samples = samples[len(frames) * self.hop :]
            bins = torch.fft.rfft(frames * self.window)[:, : len(self.bands)]
            energies = (bins.abs().square() @ self.bands).numpy()
            end = self.frames + len(energies)
            while end > len(self.energies):
                self.energies = np.concatenate([self.energies, np.zeros_like(self.energies)])
            self.energies[self.frames : end] = energies
            self.frames = end
        self.rest = samples.clone()

    def bits(self) -> numpy.ndarray:
        """The signature: 64 bytes."""
        import numpy as np

        if self.frames < PARTS:
            return np.zeros(BITS // 8, np.uint8)
        energies = self.energies[: self.frames].astype(np.float64)  # (frames, bands)
        edges = np.arange(PARTS) * len(energies) // PARTS
        parts = np.add.reduceat(energies, edges) / np.diff([*edges, len(energies)])[:, None]
        logs = np.log(parts + _FLOOR * (parts.mean() + 1e-20))
        steps = np.diff(np.diff(logs, axis=1), axis=0)
        return np.packbits(steps > _STEP)
