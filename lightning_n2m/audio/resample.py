"""Resampling of whole files and of tensors, and the paper's up-sampling."""

from __future__ import annotations

import functools
import math

import soxr
import torch
from torch import Tensor
from torchaudio.transforms import Resample

_WIDTH, _ROLLOFF = 32, 0.95  # zero crossings of the filter on either side; band edge / Nyquist frequency


def resample_file(samples: Tensor, sample_rate: int, new_rate: int) -> Tensor:
    """Resample a whole file ``(channels, time)`` at the highest quality (soxr), on the CPU."""
    if sample_rate == new_rate:
        return samples
    return torch.from_numpy(soxr.resample(samples.T.numpy(), sample_rate, new_rate, quality="VHQ").T.copy())


def resample(samples: Tensor, sample_rate: int, new_rate: int) -> Tensor:
    """Resample tensors ``(..., time)`` on their device, with an anti-aliasing windowed sinc filter.

    All stages use the same filter, so that the input of a cascader in training and the output of a generator
    have the same band edge. It computes in the precision of the samples, also under autocast: 16 bits would
    add noise at -54 dB.

    Returns:
        ``(..., ceil(time * new_rate / sample_rate))``.
    """
    if sample_rate == new_rate:
        return samples
    with torch.autocast(samples.device.type, enabled=False):
        return _filter(sample_rate, new_rate, samples.dtype, samples.device)(samples)


@functools.cache
def _filter(sample_rate: int, new_rate: int, dtype: torch.dtype, device: torch.device) -> Resample:
    """The filter, cached: for a short crop its design takes a large part of the time."""
    # A tensor of inference mode, cached during sampling, could not be used in training.
    with torch.inference_mode(False):
        transform = Resample(
            sample_rate, new_rate, lowpass_filter_width=_WIDTH, rolloff=_ROLLOFF, dtype=dtype
        )
        return transform.to(device)


def reach(sample_rate: int, new_rate: int) -> int:
    """Number of input samples on either side that an output sample of `resample` depends on."""
    if sample_rate == new_rate:
        return 0
    return math.ceil(_WIDTH * sample_rate / (min(sample_rate, new_rate) * _ROLLOFF)) + 1


def fft_upsample(samples: Tensor, length: int, context: int = 64) -> Tensor:
    """Band-limited interpolation by zero-padding the spectrum (section 3.3.1 of the paper).

    The Fourier transform treats the signal as periodic, so that a step from its end to its beginning would
    ring. The signal is therefore extended by reflection on both sides, and cropped afterwards.

    Args:
        samples: ``(..., time)``.
        length: Number of samples to return, at least ``time``.
        context: Samples of reflection on either side, at the low rate.

    Returns:
        ``(..., length)``.

    Raises:
        ValueError: if ``length`` is smaller than ``time``.
    """
    time = samples.shape[-1]
    if length < time:
        raise ValueError(f"fft_upsample cannot reduce {time} samples to {length}")
    context = min(context, time - 1)
    # The reflected context must be a whole number of output samples; otherwise the output would be shifted.
    ratio = length / time
    while context > 0 and abs(context * ratio - round(context * ratio)) > 1e-9:
        context -= 1
    padded = torch.nn.functional.pad(samples.flatten(0, -2)[None], (context, context), mode="reflect")[0]
    padded = padded.view(*samples.shape[:-1], time + 2 * context)
    edge = round(context * ratio)
    spectrum = torch.fft.rfft(padded.float(), norm="forward")
    if padded.shape[-1] % 2 == 0 and length > time:
        # The bin at the old Nyquist frequency holds the positive and the negative frequency; after
        # up-sampling it holds the positive one only.
        spectrum = torch.cat([spectrum[..., :-1], spectrum[..., -1:] / 2], dim=-1)
    total = length + 2 * edge
    raised = torch.fft.irfft(spectrum, n=total, norm="forward")
    return raised[..., edge : edge + length].to(samples.dtype)
