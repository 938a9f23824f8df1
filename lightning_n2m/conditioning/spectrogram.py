"""A log-mel as conditioning, aligned with the deepest level of the U-Net (section 3.3.2)."""

from __future__ import annotations

import functools

import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.audio.blur import blur_2d
from lightning_n2m.audio.emphasis import emphasise
from lightning_n2m.audio.mel import MelSettings, griffin_lim, log_mel, match_mel
from lightning_n2m.audio.windows import piecewise
from lightning_n2m.conditioning.conditioner import Augmentation, Conditioner
from lightning_n2m.integers import ceil_div


class Spectrogram(Conditioner):
    """The log-mel of the stage's own audio.

    Args:
        mel: Analysis and scaling, exactly those of the generator.
        augmentation: Noise and blur in training.
        scale: See `Conditioner`.
        draft_iterations: Iterations of Griffin and Lim for a draft of the audio, which is stacked onto x_t;
            0 for no draft, as in the paper.
        draft_scale: Factor of the draft: the scale of the stage's target.
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
        """Log-mel of audio ``(b, 1, t)``."""
        return log_mel(audio, self.mel)

    def match_length(self, signal: Tensor, length: int) -> Tensor:
        """Crop to the frames of ``length`` samples."""
        return signal[..., : ceil_div(length, self.mel.hop)]

    def blur(self, signal: Tensor, std: Tensor) -> Tensor:
        """Blur with a kernel of 5 x 5 cells (section 4.1)."""
        return blur_2d(signal, std)

    def network_inputs(self, signal: Tensor, length: int) -> dict[str, Tensor]:
        """The spectrogram, and the draft computed from it, noise included."""
        inputs = {"aligned": signal}
        if self.draft_iterations:
            window = functools.partial(self._draft, signal)
            draft = piecewise(window, length, self.mel.sample_rate, self.mel.hop)
            inputs["stacked"] = self.draft_scale * emphasise(draft, self.emphasis)
        return inputs

    def _draft(self, signal: Tensor, start: int, stop: int) -> Tensor:
        frames = signal[..., start // self.mel.hop : ceil_div(stop, self.mel.hop)]
        draft = griffin_lim(frames / self.scale, self.mel, self.draft_iterations)
        # The draft has whole frames: a negative padding crops it to the samples of the window.
        return F.pad(draft, (0, stop - start - draft.shape[-1]))

    @property
    def rate_ratio(self) -> tuple[int, int]:
        """One frame per hop."""
        return self.mel.hop, 1

    def project(self, audio: Tensor, signal: Tensor) -> Tensor:
        """Change the magnitudes towards the log-mel, see `match_mel`."""
        return match_mel(audio, signal, self.mel)

    def to_audio(self, signal: Tensor, length: int) -> Tensor:
        """Audio with phases by Griffin and Lim."""
        return griffin_lim(signal, self.mel)[..., :length]
