"""The shards to be: which tracks go into which, and what became of each."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.track import Rejected, Track
from lightning_n2m.data.schema import Shard, Split, split_of

# Results of finished shards, beside the shards: what a killed job needs to go on.
RECORDS = "records"
# Every rank and loader worker needs a shard of its own, so small collections get small shards.
_FEWEST = 8


@dataclass(frozen=True)
class Result:
    """A finished shard, and the tracks that could not go into it."""

    shard: Shard
    rejected: tuple[Rejected, ...]


@dataclass(frozen=True)
class Unit:
    """One shard to make."""

    name: str
    split: Split
    tracks: tuple[Track, ...]
    clips_per_track: int
    clip_seconds: float
    folder: str

    @property
    def audio(self) -> Path:
        """The tar file."""
        return Path(self.folder) / self.name

    @property
    def record(self) -> Path:
        """Its result; written after the tar file."""
        return (Path(self.folder) / RECORDS / self.name).with_suffix(".json")

    def is_done(self) -> bool:
        """Whether an earlier run finished it, and the file is still what it was."""
        return (
            self.record.is_file()
            and self.audio.is_file()
            and self.audio.stat().st_size == self.result().shard.bytes
        )

    def result(self) -> Result:
        """What an earlier run left."""
        values = json.loads(self.record.read_text(encoding="utf-8"))
        return Result(Shard(**values["shard"]), tuple(Rejected(**item) for item in values["rejected"]))


def plan(usable: list[Track], settings: dict[str, Any], folder: str) -> list[Unit]:
    """Distribute tracks over shards: evenly, split by split, in the order of their identities.

    That order is as good as random, so that artists and sources are mixed in every shard.

    Args:
        usable: Tracks that are long enough.
        settings: Those of the index: ``validation``, ``test``, ``tracks_per_shard``, and those of clips.
        folder: Where the shards go.
    """
    splits: dict[Split, list[Track]] = {"train": [], "validation": [], "test": []}
    for item in sorted(usable, key=lambda item: item.track_id):
        splits[split_of(item.track_id, settings["validation"], settings["test"])].append(item)
    units: list[Unit] = []
    for split, members in splits.items():
        count = max(math.ceil(len(members) / settings["tracks_per_shard"]), min(len(members), _FEWEST))
        for number in range(count):
            part = members[number * len(members) // count : (number + 1) * len(members) // count]
            name = f"audio-{len(units):06d}.tar"
            units.append(
                Unit(name, split, tuple(part), settings["clips_per_track"], settings["clip_seconds"], folder)
            )
    return units
