"""The two generators: text to a low-fidelity form of the whole clip (section 3.3)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel
from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.stages.base import Stage


class WaveformGenerator(Stage):
    """Text to 3.2 kHz audio (section 3.3.1).

    Args:
        text: Frozen encoder of the prompt.
        sample_rate: Rate of the output audio, in Hz.
        seconds: Length of a training example; the paper trains on whole clips, for self-attention.
        kwargs: See `Stage`.
    """

    def __init__(
        self, text: TextEncoder, sample_rate: int = 3200, seconds: float = 30.0, **kwargs: Any
    ) -> None:
        super().__init__(text=text, sample_rate=sample_rate, seconds=seconds, **kwargs)


class SpectrogramGenerator(Stage):
    """Text to an 80-channel log-mel at 100 frames a second (section 3.3.2).

    Args:
        text: Frozen encoder of the prompt.
        mel: Analysis and scaling of the log-mel.
        seconds: Length of a training example.
        kwargs: See `Stage`.
    """

    def __init__(
        self,
        text: TextEncoder,
        mel: MelSettings = MelSettings(),
        seconds: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(text=text, sample_rate=mel.sample_rate, seconds=seconds, **kwargs)
        self.mel = mel

    @property
    def output_rate(self) -> float:
        """Frames per second."""
        return self.mel.sample_rate / self.mel.hop

    @property
    def trains_on_mel(self) -> MelSettings:
        """The stage's own analysis; the loader computes log-mels that the shards lack."""
        return self.mel

    def target(self, audio: Tensor) -> Tensor:
        """The scaled log-mel."""
        return log_mel(audio, self.mel)

    def to_audio(self, output: Tensor) -> Tensor:
        """Audio with phases by Griffin-Lim: a preview without the vocoder."""
        return griffin_lim(output, self.mel)
