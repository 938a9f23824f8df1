"""What the report on labels says, before it is written as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning_n2m.data.schema import Shard

USE_HEAD = (
    "captions of a clip",
    "coverage",
    "entropy, bits",
    "equally used captions of that entropy",
    "uses by the top 1 %",
    "most used",
)
ACCURACY_NOTE = "Rendered clips, whose instruments and genre are known:"
ACCURACY_HEAD = (
    "captions",
    "number",
    "name a correct instrument family",
    "... of those that name one",
    "name the genre",
    "... of those that name one",
)


@dataclass(frozen=True)
class VocabularyUse:
    """What the report says about one vocabulary.

    Args:
        name: Name of the vocabulary.
        size: Number of its captions.
        plot: Name of the plot of its use.
        use: Rows of `USE_HEAD`.
        accuracy: Rows of `ACCURACY_HEAD`; none without clips of known truth.
    """

    name: str
    size: int
    plot: str
    use: list[list[str]]
    accuracy: list[list[str]]


@dataclass(frozen=True)
class LabelledClip:
    """A clip that the report shows, with what is known about it and its captions by vocabulary."""

    key: str
    title: str
    shard: Shard
    known: str
    captions: Mapping[Any, tuple[str, ...]]
