"""Change of sampling rate: whole files, tensors in a batch, and the paper's up-sampling."""

from __future__ import annotations

import functools
import math

import soxr
import torch
from torch import Tensor
from torchaudio.transforms import Resample

_WIDTH, _ROLLOFF = 32, 0.95  # Zero crossings of the filter on either side; band edge over Nyquist's.


def resample_file(samples: Tensor, sample_rate: int, new_rate: int) -> Tensor:
    """Resample a whole file ``(channels, time)`` at the highest quality (soxr), on the CPU."""
    if sample_rate == new_rate:
        return samples
    return torch.from_numpy(soxr.resample(samples.T.numpy(), sample_rate, new_rate, quality="VHQ").T.copy())


def resample(samples: Tensor, sample_rate: int, new_rate: int) -> Tensor:
    """Resample tensors ``(..., time)`` where they are, with an anti-aliasing windowed sinc.

    The filter is one for the whole project, so that what a cascader is trained on and what a
    generator is trained to make have the same band edge. It works in the samples' own precision, also
    where a training computes in 16 bits: those would add noise at -54 dB.

    Returns:
        ``(..., ceil(time * new_rate / sample_rate))``.
    """
    if sample_rate == new_rate:
        return samples
    with torch.autocast(samples.device.type, enabled=False):
        return _filter(sample_rate, new_rate, samples.dtype, samples.device)(samples)


@functools.cache
def _filter(sample_rate: int, new_rate: int, dtype: torch.dtype, device: torch.device) -> Resample:
    """The filter, designed once: for a short crop that is a good part of the work."""
    with torch.inference_mode(False):  # else one that sampling made could not be trained with
        made = Resample(sample_rate, new_rate, lowpass_filter_width=_WIDTH, rolloff=_ROLLOFF, dtype=dtype)
        return made.to(device)


def reach(sample_rate: int, new_rate: int) -> int:
    """Samples on either side that a sample of `resample` depends on: a cut without them has false edges."""
    if sample_rate == new_rate:
        return 0
    return math.ceil(_WIDTH * sample_rate / (min(sample_rate, new_rate) * _ROLLOFF)) + 1


def fft_upsample(samples: Tensor, length: int, context: int = 64) -> Tensor:
    """Band-limited interpolation by zero-padding the spectrum (section 3.3.1 of the paper).

    The Fourier transform takes the signal for periodic; an end that does not meet the beginning
    would ring. The signal is therefore continued by reflection on both sides first, and cut after.

    Args:
        samples: ``(..., time)``.
        length: Number of samples to return, a multiple of ``time`` or any larger number.
        context: Samples of reflection on either side, at the low rate.

    Returns:
        ``(..., length)``.

    Raises:
        ValueError: if ``length`` is smaller than ``time``.
    """
    time = samples.shape[-1]
    if length < time:
        raise ValueError(f"fft_upsample cannot go from {time} down to {length} samples")
    context = min(context, time - 1)
    # The padded length must map onto a whole number of samples, or the two grids drift apart.
    ratio = length / time
    while context > 0 and abs(context * ratio - round(context * ratio)) > 1e-9:
        context -= 1
    padded = torch.nn.functional.pad(samples.flatten(0, -2)[None], (context, context), mode="reflect")[0]
    padded = padded.view(*samples.shape[:-1], time + 2 * context)
    edge = round(context * ratio)
    spectrum = torch.fft.rfft(padded.float(), norm="forward")
    if padded.shape[-1] % 2 == 0 and length > time:
        # The bin at the old Nyquist frequency stood for both signs; from now on it is only one.
        spectrum = torch.cat([spectrum[..., :-1], spectrum[..., -1:] / 2], dim=-1)
    total = length + 2 * edge
    raised = torch.fft.irfft(spectrum, n=total, norm="forward")
    return raised[..., edge : edge + length].to(samples.dtype)
