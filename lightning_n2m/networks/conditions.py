"""What a network is told besides x_t and t."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """The entrances of the U-Net other than x_t and t; any of them may be absent.

    The null text is a mask without a single token: cross-attention gives exactly zero there
    (section 3.4 of the paper). It is one thing in training, in guidance and for a missing prompt.

    Args:
        text: Text vectors for cross-attention, ``(b, n, d)``.
        text_mask: True where there is a token, ``(b, n)``.
        stacked: Signal stacked with x_t on the channel axis, ``(b, c, t)``.
        aligned: Signal added at the bottom of the U, ``(b, c, t / total stride)``.
        level: Diffusion time to which ``stacked`` or ``aligned`` was noised, ``(b,)``.
    """

    text: Tensor | None = None
    text_mask: Tensor | None = None
    stacked: Tensor | None = None
    aligned: Tensor | None = None
    level: Tensor | None = None

    def drop_text(self, drop: Tensor | None = None) -> Conditions:
        """Hide the text of the samples where ``drop`` ``(b,)`` is true; of all when none is given."""
        if self.text_mask is None:
            return self
        keep = torch.zeros_like(self.text_mask) if drop is None else self.text_mask & ~drop[:, None]
        return dataclasses.replace(self, text_mask=keep)

    def with_text(self, text: Tensor, text_mask: Tensor) -> Conditions:
        """The same conditions under another text."""
        return dataclasses.replace(self, text=text, text_mask=text_mask)

    def cat(self, other: Conditions) -> Conditions:
        """Both one after the other along the batch axis, for one pass through the network.

        Texts of different lengths are padded; the mask hides the padding.

        Raises:
            ValueError: if only one of the two has an entrance: the other's rows would go without it
                unnoticed. The null text is `drop_text`, not a missing one.
        """
        if self.text is None or other.text is None or self.text.shape[1] == other.text.shape[1]:
            return self._join(other)
        length = max(self.text.shape[1], other.text.shape[1])
        return self._padded(length)._join(other._padded(length))

    def slice(self, start: int, stop: int, stride: int) -> Conditions:
        """The window of time steps [start, stop) of a signal; ``aligned`` is cut at its own rate."""
        return dataclasses.replace(
            self,
            stacked=None if self.stacked is None else self.stacked[..., start:stop],
            aligned=None if self.aligned is None else self.aligned[..., start // stride : -(-stop // stride)],
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
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if (mine is None) != (theirs is None):
                raise ValueError(f"only one of the conditions has '{field.name}', so they cannot be joined")
            joined[field.name] = None if mine is None else torch.cat([mine, theirs])
        return Conditions(**joined)
