"""A log-mel as a condition: aligned with the bottom of the U (section 3.3.2)."""

from __future__ import annotations

import functools

import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.audio.blur import blur_2d
from lightning_n2m.audio.emphasis import emphasise
from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel, match_mel
from lightning_n2m.audio.windows import piecewise
from lightning_n2m.conditioning.conditioner import Augmentation, Conditioner


class Spectrogram(Conditioner):
    """The log-mel of the stage's own audio.

    Args:
        mel: Analysis and scaling: the generator's, to the letter.
        augmentation: Damage in training.
        scale: See `Conditioner`.
        draft_iterations: Iterations of Griffin and Lim for a draft of the audio, which is stacked
            onto x_t; 0 for none, as in the paper.
        draft_scale: The draft is multiplied by this: the stage's own scale.
        emphasis: Pre-emphasis of the draft.
    """

    def __init__(
        self,
        mel: MelSettings,
        augmentation: Augmentation,
        scale: float = 1.0,
        draft_iterations: int = 0,
        draft_scale: float = 1.0,
        emphasis: float = 0.0,
    ) -> None:
        super().__init__(augmentation, scale, emphasis)
        self.mel, self.draft_iterations, self.draft_scale = mel, draft_iterations, draft_scale
        self.input_slots = ("aligned", "stacked") if draft_iterations else ("aligned",)

    def degrade(self, audio: Tensor) -> Tensor:
        """Log-mel of real audio."""
        return log_mel(audio, self.mel)

    def match_length(self, signal: Tensor, length: int) -> Tensor:
        """As many frames as ``length`` samples have."""
        return signal[..., : -(-length // self.mel.hop)]

    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Kernel of 5 x 5 cells (section 4.1)."""
        return blur_2d(signal, std)

    def network_inputs(self, signal: Tensor, length: int) -> dict[str, Tensor]:
        """The spectrogram, and the draft of exactly that: noise in one is noise in the other."""
        entered = {"aligned": signal}
        if self.draft_iterations:
            drawn = functools.partial(self._draft, signal)
            draft = piecewise(drawn, length, self.mel.sample_rate, self.mel.hop)
            entered["stacked"] = self.draft_scale * emphasise(draft, self.emphasis)
        return entered

    def _draft(self, signal: Tensor, start: int, stop: int) -> Tensor:
        frames = signal[..., start // self.mel.hop : -(-stop // self.mel.hop)]
        draft = griffin_lim(frames / self.scale, self.mel, self.draft_iterations)
        # Pads where the last frame was not whole, crops where it is longer than what is left.
        return F.pad(draft, (0, stop - start - draft.shape[-1]))

    @property
    def rate_ratio(self) -> tuple[int, int]:
        """A frame's hop."""
        return self.mel.hop, 1

    def project(self, audio: Tensor, signal: Tensor) -> Tensor:
        """Louder or softer wherever a mel channel was softer or louder than it should be."""
        return match_mel(audio, signal, self.mel)

    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """Phases by Griffin and Lim."""
        return griffin_lim(signal, self.mel)[..., :length]
