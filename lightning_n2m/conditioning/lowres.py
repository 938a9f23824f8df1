"""Low-rate audio as conditioning, stacked with x_t on the channel axis (section 3.3.1)."""

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
from lightning_n2m.integers import ceil_div


class LowResolution(Conditioner):
    """Audio at a lower rate, up-sampled by zero-padding its spectrum.

    Args:
        rate: Rate of the low-fidelity audio in Hz.
        target_rate: Rate of the stage's own audio in Hz.
        augmentation: Noise and blur in training.
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
        """Audio ``(b, 1, t)`` at the low rate."""
        return resample(audio, self.target_rate, self.rate)

    def match_length(self, signal: Tensor, length: int) -> Tensor:
        """Band-limited up-sampling to ``length`` samples.

        Where ``length`` is not a whole number of low-rate samples (65,536 samples at 16 kHz are 13,107.2 at
        3.2 kHz), the last sample is repeated up to the next common multiple of the rates, because
        up-sampling to a fraction would stretch the signal in time. A longer signal is cropped.

        Raises:
            InputError: If the signal is too short by more than rounding.
        """
        time = signal.shape[-1]
        needed = ceil_div(length * self.rate, self.target_rate)
        if needed - time > 1:
            raise InputError(
                f"The signal to refine has {time} samples at {self.rate} Hz, but {length} samples at "
                f"{self.target_rate} Hz need {needed}; give a signal as long as the output."
            )
        return emphasise(self._upsample(signal, length), self.emphasis)

    def _upsample(self, signal: Tensor, length: int) -> Tensor:
        output_step, input_step = self.rate_ratio

        def window(start: int, stop: int) -> Tensor:
            first = start // output_step * input_step
            last = ceil_div(stop * input_step, output_step)
            return self._upsample_window(signal[..., first:last], stop - start)

        return piecewise(window, length, self.target_rate, output_step)

    def _upsample_window(self, signal: Tensor, length: int) -> Tensor:
        output_step, input_step = self.rate_ratio
        # The number of steps that contains both the signal and the output.
        steps = max(ceil_div(signal.shape[-1], input_step), ceil_div(length, output_step))
        missing = steps * input_step - signal.shape[-1]
        padded = torch.nn.functional.pad(signal, (0, missing), mode="replicate")
        return fft_upsample(padded, steps * output_step)[..., :length]

    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Blur with a kernel of size 10 (section 4.1)."""
        return blur_1d(signal, std)

    def network_inputs(self, signal: Tensor, length: int) -> dict[str, Tensor]:
        """The signal, stacked with x_t."""
        return {"stacked": signal}

    @property
    def rate_ratio(self) -> tuple[int, int]:
        """The two rates in lowest terms."""
        common = math.gcd(self.rate, self.target_rate)
        return self.target_rate // common, self.rate // common

    def project(self, audio: Tensor, signal: Tensor) -> Tensor:
        """Replace the band of the signal and keep what lies above it (Wang et al. 2023, eq. 7)."""
        difference = signal - self.degrade(audio)[..., : signal.shape[-1]]
        return audio + self._upsample(difference, audio.shape[-1])

    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """The input of the network without its emphasis."""
        return restore(self.match_length(signal, length), self.emphasis)
