"""Low-rate audio as a condition: stacked with x_t on the channel axis (section 3.3.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lightning_n2m.audio.blur import blur_1d
from lightning_n2m.audio.emphasis import emphasise, restore
from lightning_n2m.audio.resample import fft_upsample, resample
from lightning_n2m.audio.windows import piecewise
from lightning_n2m.conditioning.conditioner import Augmentation, Conditioner
from lightning_n2m.errors import InputError, check_range


class LowResolution(Conditioner):
    """Audio at a lower rate, brought up by zero-padding its spectrum.

    Args:
        rate: Rate of the low-fidelity audio in Hz.
        target_rate: Rate of the stage's own audio in Hz.
        augmentation: Damage in training.
        scale: See `Conditioner`.
        emphasis: See `Conditioner`.
    """

    input_slots = ("stacked",)

    def __init__(
        self,
        rate: int,
        target_rate: int,
        augmentation: Augmentation,
        scale: float = 1.0,
        emphasis: float = 0.0,
    ) -> None:
        super().__init__(augmentation, scale, emphasis)
        check_range("low_rate", rate, 100, target_rate)
        self.rate, self.target_rate = rate, target_rate

    def degrade(self, audio: Tensor) -> Tensor:
        """Real audio at the low rate."""
        return resample(audio, self.target_rate, self.rate)

    def match_length(self, signal: Tensor, length: int) -> Tensor:
        """Band-limited up-sampling to ``length`` samples.

        Where the rates do not divide (65,536 samples at 16 kHz are 13,107.2 at 3.2 kHz), the last
        sample is held until the two grids meet, since raising part of a step would stretch the time
        of the whole signal; what is too long is cut.

        Raises:
            InputError: if the signal is too short by more than rounding.
        """
        time = signal.shape[-1]
        needed = -(-length * self.rate // self.target_rate)
        if needed - time > 1:
            raise InputError(
                f"The signal to refine has {time} samples at {self.rate} Hz, but {length} samples at "
                f"{self.target_rate} Hz need {needed}; give one that lasts as long as the output."
            )
        return emphasise(self._raise(signal, length), self.emphasis)

    def _raise(self, signal: Tensor, length: int) -> Tensor:
        ours, theirs = self.rate_ratio

        def part(start: int, stop: int) -> Tensor:
            known = signal[..., start // ours * theirs : -(-stop * theirs // ours)]
            return self._raise_part(known, stop - start)

        return piecewise(part, length, self.target_rate, ours)

    def _raise_part(self, signal: Tensor, length: int) -> Tensor:
        ours, theirs = self.rate_ratio
        steps = -(-max(signal.shape[-1] * ours, length * theirs) // (ours * theirs))
        held = torch.nn.functional.pad(signal, (0, steps * theirs - signal.shape[-1]), mode="replicate")
        return fft_upsample(held, steps * ours)[..., :length]

    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Kernel of size 10 (section 4.1)."""
        return blur_1d(signal, std)

    def network_inputs(self, signal: Tensor, length: int) -> dict[str, Tensor]:
        """Stacked with x_t."""
        return {"stacked": signal}

    @property
    def rate_ratio(self) -> tuple[int, int]:
        """Rates in lowest terms."""
        common = math.gcd(self.rate, self.target_rate)
        return self.target_rate // common, self.rate // common

    def project(self, audio: Tensor, signal: Tensor) -> Tensor:
        """The band of the signal is the signal's, what lies above stays (Wang et al. 2023, eq. 7)."""
        return audio + self._raise(signal - self.degrade(audio)[..., : signal.shape[-1]], audio.shape[-1])

    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """The same as the network is given, without its emphasis."""
        return restore(self.match_length(signal, length), self.emphasis)
