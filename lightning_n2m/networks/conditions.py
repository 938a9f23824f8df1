"""Inputs of the network besides x_t and t."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.integers import ceil_div


@dataclass(frozen=True)
class Conditions:
    """Inputs of the U-Net other than x_t and t; each is optional.

    The null text is a mask without any token: the output of cross-attention is exactly zero (section 3.4
    of the paper). Training, guidance and missing prompts use the same null text.

    Args:
        text: Text vectors for cross-attention, ``(b, n, d)``.
        text_mask: True where there is a token, ``(b, n)``.
        stacked: Signal stacked with x_t on the channel axis, ``(b, c, t)``.
        aligned: Signal added at the deepest level, ``(b, c, t / total stride)``.
        known: Known regions of the data and their mask, ``(b, c + 1, t)``; null where nothing is known.
        level: Diffusion time to which ``stacked`` or ``aligned`` was noised, ``(b,)``.
        step: Length in time of the step that a distilled network takes, ``(b,)``.
        guidance: Guidance scale that a distilled network applies, ``(b,)``.
        tempo: Beats per minute, ``(b,)``; NaN where absent.
        tonic: Pitch class from 0 (C) to 11, ``(b,)``; -1 where absent.
        mode: 0 for major, 1 for minor, ``(b,)``; -1 where absent.
        beat_phase: Sine and cosine of the beat phase, ``(b, 2, t)``; zero where absent.
    """

    text: Tensor | None = None
    text_mask: Tensor | None = None
    stacked: Tensor | None = None
    aligned: Tensor | None = None
    known: Tensor | None = None
    level: Tensor | None = None
    step: Tensor | None = None
    guidance: Tensor | None = None
    tempo: Tensor | None = None
    tonic: Tensor | None = None
    mode: Tensor | None = None
    beat_phase: Tensor | None = None

    def drop_text(self, drop: Tensor | None = None) -> Conditions:
        """Replace texts by the null text.

        Args:
            drop: True for the samples that lose their text, ``(b,)``; null for all.
        """
        if self.text_mask is None:
            return self
        keep = torch.zeros_like(self.text_mask) if drop is None else self.text_mask & ~drop[:, None]
        return dataclasses.replace(self, text_mask=keep)

    def drop_numbers(self, drop: Mapping[str, Tensor] | None = None) -> Conditions:
        """Replace tempo, tonic, mode and beat phase by their absent states.

        Args:
            drop: For each number by name, true for the samples that lose it, ``(b,)``; null for all.
        """
        changed = {}
        for name, absent in (("tempo", math.nan), ("tonic", -1), ("mode", -1), ("beat_phase", 0.0)):
            value = getattr(self, name)
            if value is None or (drop is not None and name not in drop):
                continue
            is_dropped = torch.ones_like(value, dtype=torch.bool)
            if drop is not None:
                is_dropped = drop[name].view(-1, *[1] * (value.dim() - 1)).expand_as(value)
            changed[name] = torch.where(is_dropped, torch.full_like(value, absent), value)
        return dataclasses.replace(self, **changed)

    def with_text(self, text: Tensor, text_mask: Tensor) -> Conditions:
        """The same conditions with another text."""
        return dataclasses.replace(self, text=text, text_mask=text_mask)

    def with_step(self, step: Tensor, guidance: Tensor | None = None) -> Conditions:
        """The same conditions with the step and guidance scale of a distilled network."""
        return dataclasses.replace(self, step=step, guidance=guidance)

    def repeat(self, times: int) -> Conditions:
        """The whole batch several times in a row."""
        return functools.reduce(Conditions._join, [self] * times)

    def outside_inference_mode(self) -> Conditions:
        """Copies that can take part in gradients, which tensors of `torch.inference_mode` cannot."""
        with torch.inference_mode(False):
            tensors = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
            return Conditions(**{k: None if v is None else v.clone() for k, v in tensors.items()})

    def cat(self, other: Conditions) -> Conditions:
        """Concatenate along the batch axis, for one pass through the network.

        Texts of different lengths are padded, and the mask excludes the padding.

        Raises:
            ValueError: If only one of the two has an input. The null text is `drop_text`, not a missing text.
        """
        if self.text is None or other.text is None or self.text.shape[1] == other.text.shape[1]:
            return self._join(other)
        length = max(self.text.shape[1], other.text.shape[1])
        return self._padded(length)._join(other._padded(length))

    def slice(self, start: int, stop: int, stride: int) -> Conditions:
        """Cut the time steps [start, stop) of all signals.

        Args:
            start: First step of x_t, a multiple of ``stride``.
            stop: Step after the last one.
            stride: Steps of x_t in one step of ``aligned``.
        """
        return dataclasses.replace(
            self,
            stacked=None if self.stacked is None else self.stacked[..., start:stop],
            known=None if self.known is None else self.known[..., start:stop],
            beat_phase=None if self.beat_phase is None else self.beat_phase[..., start:stop],
            aligned=None
            if self.aligned is None
            else self.aligned[..., start // stride : ceil_div(stop, stride)],
        )

    def _padded(self, length: int) -> Conditions:
        assert self.text is not None and self.text_mask is not None
        missing = length - self.text.shape[1]
        return self.with_text(
            torch.nn.functional.pad(self.text, (0, 0, 0, missing)),
            torch.nn.functional.pad(self.text_mask, (0, missing)),
        )

    def _join(self, other: Conditions) -> Conditions:
        joined = {}
        for field in dataclasses.fields(self):
            first, second = getattr(self, field.name), getattr(other, field.name)
            if (first is None) != (second is None):
                raise ValueError(f"Only one of the conditions has '{field.name}'; they cannot be joined.")
            joined[field.name] = None if first is None else torch.cat([first, second])
        return Conditions(**joined)
