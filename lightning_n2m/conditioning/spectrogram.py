"""A log-mel as a condition: aligned with the bottom of the U (section 3.3.2)."""

from __future__ import annotations

from torch import Tensor

from lightning_n2m.audio.blur import blur_2d
from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel
from lightning_n2m.conditioning.conditioner import Augmentation, Conditioner


class Spectrogram(Conditioner):
    """The log-mel of the stage's own audio.

    Args:
        mel: Analysis and scaling: the generator's, to the letter.
        augmentation: Damage in training.
        scale: See `Conditioner`.
    """

    entrance = "aligned"

    def __init__(self, mel: MelSettings, augmentation: Augmentation, scale: float = 1.0) -> None:
        super().__init__(augmentation, scale)
        self.mel = mel

    def degrade(self, audio: Tensor) -> Tensor:
        """Log-mel of real audio."""
        return log_mel(audio, self.mel)

    def fit(self, signal: Tensor, length: int) -> Tensor:
        """As many frames as ``length`` samples have."""
        return signal[..., : -(-length // self.mel.hop)]

    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Kernel of 5 x 5 cells (section 4.1)."""
        return blur_2d(signal, std)

    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """Phases by Griffin and Lim."""
        return griffin_lim(signal, self.mel)[..., :length]
