"""The interface of an evaluation set: prompts, and the reference recordings that they describe."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from lightning_n2m.audio.io import probe, read, to_mono
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.clip_audio import read_clip
from lightning_n2m.data.shard_reader import RawClip
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import derive_seed

# Keys become file names and parts of a page.
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,199}")


@dataclass(frozen=True)
class EvaluationItem:
    """One prompt and its reference clip.

    Args:
        key: Name of the clip, unique in its set; the name of its files.
        prompt: Text that the cascade generates from.
        truth: Facts known exactly of the reference clip.
        place: File or shard that holds the reference clip.
        seconds: Length of the reference clip; null if only its file says so.
        tags: Tags of the evaluating tagger that the clip should have; null for those that the prompt names.
    """

    key: str
    prompt: str
    truth: dict[str, Any] = field(default_factory=dict)
    place: str = ""
    seconds: float | None = None
    tags: tuple[str, ...] | None = None


class EvaluationSet(ABC):
    """Prompts, their reference clips, and the length of generated clips and evaluated excerpts.

    Attributes:
        name: Name of the set.
        seconds: Length of the generated clips.
        excerpt_seconds: Length of the excerpt that is evaluated: the middle 10 s (section 5.1 of the paper).
        training: Shards of the training music: the reference of distances, and what may be memorised.
            Without any, the set's own recordings are the reference, as in the paper.
        metric_label: Part of the names of its metric values, where two sets are evaluated on one route.
    """

    name: str
    seconds: float
    training: list[str]
    excerpt_seconds: float = 10.0
    metric_label: str = ""

    @abstractmethod
    def items(self) -> list[EvaluationItem]:
        """All prompts, in an order that stays the same when fewer are taken."""

    def references(self, items: Sequence[EvaluationItem], sample_rate: int) -> Iterator[tuple[str, Tensor]]:
        """Keys and reference audio ``(1, t)``, one after another in any order."""
        for item in items:
            yield item.key, load_clip(item.place, sample_rate)

    def reference_seconds(self, item: EvaluationItem) -> float:
        """Length of the reference clip of an item."""
        return probe(item.place).duration if item.seconds is None else item.seconds

    def _select(
        self, items: Sequence[EvaluationItem], clips: int | None, seed: str | None = None
    ) -> list[EvaluationItem]:
        """The first ``clips`` items of an order drawn by ``seed``, the set's name by default.

        Raises:
            InputError: if there are no items, or a key cannot be a file name.
        """
        if not items:
            raise InputError(
                f"The evaluation set {self.name} is empty; check data.evaluation_set's files and folders."
            )
        if clips is not None and clips < 1:
            raise InputError(f"data.evaluation_set.clips is {clips}; give a number above 0.")
        for item in items:
            if not _KEY.fullmatch(item.key):
                raise InputError(
                    f"{item.key[:80]!r} of the evaluation set {self.name} cannot be a file name; use "
                    "letters, digits, '-', '_' and '.' only."
                )
        return sorted(items, key=lambda item: derive_seed(0, seed or self.name, item.key))[:clips]


def load_clip(source: str, sample_rate: int) -> Tensor:
    """Read mono audio ``(1, t)`` at a rate, from a path."""
    audio = read(source)
    return resample_file(to_mono(audio.samples), audio.sample_rate, sample_rate)


def decode_clip(raw: RawClip, sample_rate: int) -> Tensor:
    """Decode a clip of a shard to mono audio ``(1, t)`` at a rate.

    Raises:
        InputError: if the audio is damaged or exceeds the clip's metadata.
    """
    try:
        audio = read_clip(raw)
    except InputError as error:
        reason = str(error).rstrip(".")
        raise InputError(
            f"The clip {raw.clip.key} of {raw.shard} is damaged: {reason}; build the shard again."
        ) from error
    return resample_file(to_mono(audio.samples), audio.sample_rate, sample_rate)
