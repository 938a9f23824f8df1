"""The stages that refine the output of another stage: cascader, vocoder, super-resolution (section 3.3)."""

from __future__ import annotations

from typing import Any

from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.conditioning.conditioner import Augmentation
from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.conditioning.spectrogram import Spectrogram
from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.errors import InputError
from lightning_n2m.stages.base import Stage


class WaveformCascader(Stage):
    """Text and 3.2 kHz audio to 16 kHz audio (section 3.3.1).

    Args:
        text: Frozen encoder of the prompt.
        low_rate: Rate of the input audio, in Hz.
        sample_rate: Rate of the output audio, in Hz.
        seconds: Length of a training crop; the paper says 3 to 4 s, and 4.096 s is 64 times the
            total stride at 16 kHz.
        augmentation: Noise and blur on the low-fidelity audio in training (section 4.1).
        scale: Factor of the target and of the low-fidelity audio.
        emphasis: Pre-emphasis coefficient of both.
        kwargs: See `Stage`.
    """

    def __init__(
        self,
        text: TextEncoder,
        low_rate: int = 3200,
        sample_rate: int = 16_000,
        seconds: float = 4.096,
        augmentation: Augmentation = Augmentation(t_max=0.5, blur_std=(0.1, 5.0)),
        scale: float = 1.0,
        emphasis: float = 0.0,
        **kwargs: Any,
    ) -> None:
        conditioner = LowResolution(low_rate, sample_rate, augmentation, scale, emphasis)
        super().__init__(
            text=text,
            sample_rate=sample_rate,
            seconds=seconds,
            conditioner=conditioner,
            scale=scale,
            emphasis=emphasis,
            **kwargs,
        )


class SpectrogramVocoder(Stage):
    """Log-mel to 16 kHz audio, without text (section 3.3.2).

    Args:
        mel: Analysis and scaling of the log-mel; must equal the generator's.
        seconds: Length of a training crop.
        augmentation: Noise and blur on the spectrogram in training.
        condition_scale: Factor of the spectrogram before noise is added; 1 in the paper. About 2.5
            brings music to unit variance, so that the noise levels have the same effect as on audio.
        draft_iterations: Griffin-Lim iterations for a draft of the audio that is stacked onto x_t, so that
            the network corrects phases instead of generating them; 0, as in the paper, for no draft.
        scale: Factor of the target and of the draft.
        emphasis: Pre-emphasis coefficient of both.
        kwargs: See `Stage`.

    Raises:
        InputError: if the network's total stride differs from the spectrogram's hop; only then has its
            deepest level one step for each frame.
    """

    def __init__(
        self,
        mel: MelSettings = MelSettings(),
        seconds: float = 4.0,
        augmentation: Augmentation = Augmentation(t_max=1.0, blur_std=(0.2, 1.0)),
        condition_scale: float = 1.0,
        draft_iterations: int = 0,
        scale: float = 1.0,
        emphasis: float = 0.0,
        **kwargs: Any,
    ) -> None:
        conditioner = Spectrogram(mel, augmentation, condition_scale, draft_iterations, scale, emphasis)
        super().__init__(
            sample_rate=mel.sample_rate,
            seconds=seconds,
            conditioner=conditioner,
            scale=scale,
            emphasis=emphasis,
            **kwargs,
        )
        self.mel = mel
        if self.network.total_stride != mel.hop:
            raise InputError(
                f"The vocoder's strides multiply to {self.network.total_stride}, but a frame of the "
                f"spectrogram is {mel.hop} samples; choose strides whose product is the hop."
            )


class SuperResolution(Stage):
    """16 kHz audio to 24 kHz audio, without text (section 3.3.3).

    Args:
        low_rate: Rate of the input audio, in Hz.
        sample_rate: Rate of the output audio, in Hz.
        seconds: Length of a training crop.
        augmentation: Noise on the 16 kHz audio in training; the paper names no blur for this stage.
        scale: Factor of the target and of the low-fidelity audio.
        emphasis: Pre-emphasis coefficient of both.
        kwargs: See `Stage`.
    """

    def __init__(
        self,
        low_rate: int = 16_000,
        sample_rate: int = 24_000,
        seconds: float = 4.096,
        augmentation: Augmentation = Augmentation(t_max=1.0),
        scale: float = 1.0,
        emphasis: float = 0.0,
        **kwargs: Any,
    ) -> None:
        conditioner = LowResolution(low_rate, sample_rate, augmentation, scale, emphasis)
        super().__init__(
            sample_rate=sample_rate,
            seconds=seconds,
            conditioner=conditioner,
            scale=scale,
            emphasis=emphasis,
            **kwargs,
        )
