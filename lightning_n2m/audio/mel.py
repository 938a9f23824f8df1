"""The log-mel spectrogram of the spectrogram route: 80 channels, 100 frames a second at 16 kHz."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
import torchaudio
from torch import Tensor

from lightning_n2m.errors import check_range

_MAX_GAIN = 20.0  # of a step of `match_mel`; where the audio is nearly silent, more would only amplify noise


@dataclass(frozen=True)
class MelSettings:
    """Analysis and scaling of the log-mel.

    The paper gives channels, frame rate and the range [-1, 1] (section 3.3.2). The other settings are part
    of the stage's config, because a vocoder works only with the spectrogram that it was trained on.

    Args:
        sample_rate: Rate of the audio in Hz.
        channels: Mel channels.
        hop: Samples between frames: 160 at 16 kHz is 100 frames a second, the vocoder's total stride.
        window: Length of the analysis window (and transform) in samples.
        f_min: Lowest frequency in Hz.
        f_max: Highest frequency in Hz.
        floor: Smallest mel magnitude; smaller ones are clipped to it.
        low: Natural log magnitude that is mapped to -1.
        high: Natural log magnitude that is mapped to 1.
    """

    sample_rate: int = 16_000
    channels: int = 80
    hop: int = 160
    window: int = 1024
    f_min: float = 20.0
    f_max: float = 8000.0
    floor: float = 1e-4
    low: float = -9.2
    high: float = 2.5

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("mel.sample_rate", self.sample_rate, 100, 1_000_000)
        check_range("mel.channels", self.channels, 1, 4096)
        check_range("mel.window", self.window, 2, 1 << 20)
        check_range("mel.hop", self.hop, 1, self.window)
        check_range("mel.f_max", self.f_max, 0, self.sample_rate / 2)
        check_range("mel.f_min", self.f_min, 0, self.f_max)
        check_range("mel.floor", self.floor, 1e-30, 1e30)
        check_range("mel.low", self.low, -1e6, self.high)
        check_range("mel.high", self.high, self.low, 1e6)


@lru_cache(maxsize=8)
def _transform(settings: MelSettings, device: torch.device) -> torchaudio.transforms.MelSpectrogram:
    return torchaudio.transforms.MelSpectrogram(
        sample_rate=settings.sample_rate,
        n_fft=settings.window,
        hop_length=settings.hop,
        f_min=settings.f_min,
        f_max=settings.f_max,
        n_mels=settings.channels,
        power=1.0,
        norm="slaney",
        mel_scale="slaney",
    ).to(device)


def log_mel(audio: Tensor, settings: MelSettings) -> Tensor:
    """Log-mel of audio ``(b, 1, t)``, scaled so that the values of music are within [-1, 1].

    Returns:
        ``(b, channels, t / hop)``: frames are centred. The last frame, centred after the end, is dropped, so
        that frames times hop is exactly the length.
    """
    with torch.autocast(audio.device.type, enabled=False):
        magnitude = _transform(settings, audio.device)(audio.squeeze(1).float())[..., :-1]
    logs = magnitude.clamp(min=settings.floor).log()
    return 2 * (logs - settings.low) / (settings.high - settings.low) - 1


def to_magnitude(mel: Tensor, settings: MelSettings) -> Tensor:
    """Mel magnitudes ``(b, channels, frames)`` of a scaled log-mel."""
    return ((mel.float() + 1) / 2 * (settings.high - settings.low) + settings.low).exp()


def griffin_lim(mel: Tensor, settings: MelSettings, iterations: int = 32) -> Tensor:
    """Audio ``(b, 1, frames * hop)`` of a log-mel, with phases by Griffin and Lim (1984).

    It is the preview of a generator's output and the baseline of the vocoder.
    """
    filters = _transform(settings, mel.device).mel_scale.fb  # (bins, channels)
    with torch.autocast(mel.device.type, enabled=False):
        linear = torch.clamp(torch.linalg.pinv(filters.T) @ to_magnitude(mel, settings), min=1e-8)
    linear = torch.nn.functional.pad(linear, (0, 1), mode="replicate")
    waves = torchaudio.functional.griffinlim(
        linear,
        window=torch.hann_window(settings.window, device=mel.device),
        n_fft=settings.window,
        hop_length=settings.hop,
        win_length=settings.window,
        power=1.0,
        n_iter=iterations,
        momentum=0.99,
        length=mel.shape[-1] * settings.hop,
        rand_init=False,
    )
    return waves[:, None]


def match_mel(audio: Tensor, mel: Tensor, settings: MelSettings) -> Tensor:
    """Bring the log-mel of audio ``(b, 1, frames * hop)`` nearer to ``(b, channels, frames)``.

    One step of the multiplicative update for the Kullback-Leibler divergence (Lee and Seung 2001) on the
    magnitudes; phases stay. The gain of a frequency bin is the mean of the gains that its mel channels need,
    weighted by the mel filters. Because windows overlap, one step is not enough: repeat it.
    """
    transform = _transform(settings, audio.device)
    filters, window = transform.mel_scale.fb, transform.spectrogram.window  # (bins, channels)
    shape = {"n_fft": settings.window, "hop_length": settings.hop, "window": window}
    with torch.autocast(audio.device.type, enabled=False):
        bins = torch.stft(audio.squeeze(1).float(), **shape, return_complex=True)  # (b, bins, frames + 1)
        target = to_magnitude(mel, settings)
        target = torch.nn.functional.pad(target, (0, bins.shape[-1] - target.shape[-1]), mode="replicate")
        magnitude = filters.T @ bins.abs()
        channel_gain = (target / magnitude.clamp(min=settings.floor / 100)).clamp(max=_MAX_GAIN)
        total = filters.sum(dim=1, keepdim=True)
        gain = filters @ channel_gain / total.clamp(min=1e-9)  # 0 for bins outside of all channels, as 0 Hz
        return torch.istft(bins * gain, **shape, length=audio.shape[-1])[:, None]
