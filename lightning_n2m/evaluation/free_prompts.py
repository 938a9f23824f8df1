"""Prompts in people's own words, with the tags that the evaluating tagger should find in the music."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources

from torch import Tensor

from lightning_n2m.data.evaluation_set import EvaluationItem, decode_clip
from lightning_n2m.data.shard_reader import read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.seeding import derive_seed


@dataclass(frozen=True)
class FreePrompt:
    """A prompt of ``free_prompts.toml``.

    Args:
        text: The prompt.
        tags: Tags of the evaluating tagger that fit.
        genre: Genre of the recording that is compared with, as the starter corpus names it.
        lead: Lead instrument of that recording.
    """

    text: str
    tags: tuple[str, ...]
    genre: str
    lead: str


@functools.cache
def free_prompts() -> tuple[FreePrompt, ...]:
    """All prompts, in order."""
    text = resources.files(__package__).joinpath("free_prompts.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["prompt"]
    return tuple(FreePrompt(row["text"], tuple(row["tags"]), row["genre"], row["lead"]) for row in rows)


class FreePrompts(Starter):
    """64 prompts in people's own words, about styles that the starter corpus has.

    The reference of a prompt is a held-out piece of its genre and, if there is one, its lead instrument: no
    recording was described by these prompts. Each piece is the reference of one prompt only.

    Args:
        shards: Folder of shards of the starter corpus.
        clips: Number of prompts.
        seconds: Length of the generated clips.
        splits: Splits that are held out.
    """

    metric_label = ", free prompts"

    def __init__(
        self,
        shards: str,
        clips: int = 64,
        seconds: float = 10.24,
        splits: tuple[str, ...] = ("test", "validation"),
    ) -> None:
        super().__init__(shards, clips, seconds, "rendered", splits)
        self._reference_of: dict[str, str] = {}

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the set."""
        return "free-text prompts"

    def items(self) -> list[EvaluationItem]:
        """The prompts, each with its expected tags and the place of its reference.

        Raises:
            InputError: if the shards hold too few rendered pieces.
        """
        if self.clips < 1:
            raise InputError(f"data.evaluation_set.clips is {self.clips}; give a number above 0.")
        recordings = sorted(
            (item for item in self._read() if item.truth), key=lambda item: derive_seed(self.name, item.key)
        )
        prompts = free_prompts()[: self.clips]
        if len(recordings) < len(prompts):
            raise InputError(
                f"{self.shards} holds {len(recordings)} held-out rendered pieces, fewer than the "
                f"{len(prompts)} prompts; give the starter corpus, or a smaller --data.evaluation_set.clips."
            )
        items: list[EvaluationItem] = []
        used: set[str] = set()
        self._reference_of = {}
        for number, prompt in enumerate(prompts, start=1):
            key = f"free-{number:02d}"
            free = (item for item in recordings if item.key not in used)
            reference = max(free, key=lambda item, prompt=prompt: _closeness(item, prompt))  # type: ignore[misc]
            used.add(reference.key)
            self._reference_of[reference.key] = key
            items.append(dataclasses.replace(
                reference, key=key, prompt=prompt.text, truth={}, tags=prompt.tags
            ))  # fmt: skip
        return items

    def references(self, items: Sequence[EvaluationItem], sample_rate: int) -> Iterator[tuple[str, Tensor]]:
        """Keys of the prompts and reference audio ``(1, t)``, shard by shard."""
        wanted = {item.key for item in items}
        for file in self.held_out_shards():
            for raw in read_shard(file):
                key = self._reference_of.get(raw.clip.key)
                if key in wanted:
                    yield str(key), decode_clip(raw, sample_rate)


def _closeness(item: EvaluationItem, prompt: FreePrompt) -> int:
    """How well a piece fits a prompt: genre and lead, genre alone, lead alone."""
    return 2 * (item.truth.get("genre") == prompt.genre) + (item.truth.get("lead") == prompt.lead)
