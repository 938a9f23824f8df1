"""The interface of an evaluation set: prompts, and the real music that they describe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lightning_n2m.audio.io import read, to_mono
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import derive_seed


@dataclass(frozen=True)
class EvaluationItem:
    """One prompt and its real clip.

    Args:
        key: Name of the clip, unique in its set.
        prompt: What the cascade is asked for.
        truth: Facts known exactly of the real clip.
        place: File or shard that holds it.
    """

    key: str
    prompt: str
    truth: dict[str, Any] = field(default_factory=dict)
    place: str = ""


class EvaluationSet(ABC):
    """Where the prompts come from and how long the clips are that answer them.

    Attributes:
        name: Name of the set.
        seconds: Length to generate; the middle 10 s are judged (section 5.1 of the paper).
        training: Shards of the training music, the reference of Fréchet distances and what may be
            memorised; where there are none, the set's own music is the reference, as in the paper.
    """

    name: str
    seconds: float
    training: list[str]

    @abstractmethod
    def items(self) -> list[EvaluationItem]:
        """All prompts, in an order that does not change when fewer are taken."""

    def real(self, items: list[EvaluationItem], sample_rate: int) -> Iterator[tuple[str, Tensor]]:
        """Keys and real audio ``(1, t)``, in any order."""
        for item in items:
            yield item.key, load_clip(item.place, sample_rate)

    def _chosen(self, items: list[EvaluationItem], clips: int | None) -> list[EvaluationItem]:
        if not items:
            raise InputError(
                f"The evaluation set {self.name} is empty; check data.evaluation_set's files and folders."
            )
        return sorted(items, key=lambda item: derive_seed(0, self.name, item.key))[:clips]


def load_clip(source: str | bytes, sample_rate: int) -> Tensor:
    """Read mono audio ``(1, t)`` at a rate, from a path or from the bytes of a file."""
    audio = read(source)
    return resample_file(to_mono(audio.samples), audio.sample_rate, sample_rate)
