"""The shards to be: which tracks go into which, and what became of each."""

from __future__ import annotations

import hashlib
import json
import math
import os
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from data_pipeline.scan.file_scan import plain
from data_pipeline.scan.track import REJECTED, Rejected, Track, read_track, read_tracks
from lightning_n2m.data.schema import Shard, Split, split_of
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_url, join, locate, read_bytes, size

if TYPE_CHECKING:
    import numpy

# Results of finished shards, beside the shards: what a killed job needs to go on.
RECORDS = "records"
# Every rank and loader worker needs a shard of its own, so small collections get small shards.
_FEWEST = 8
_SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Result:
    """A finished shard, and the tracks that could not go into it."""

    shard: Shard
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True)
class Place:
    """Where a shard and its record go."""

    folder: str
    name: str

    @property
    def audio(self) -> Location:
        """The tar file."""
        return join(locate(self.folder), self.name)

    @property
    def record(self) -> Location:
        """Its result; written after the tar file."""
        return join(locate(self.folder), f"{RECORDS}/{self.name.removesuffix('.tar')}.json")

    def result(self) -> Result | None:
        """What an earlier run left, if the file is still what it was."""
        if size(self.record) is None:
            return None
        values = json.loads(read_bytes(self.record))
        found = Result(Shard(**values["shard"]), tuple(Rejected(**item) for item in values["rejected"]))
        return found if size(self.audio) == found.shard.bytes else None


@dataclass
class Survey:
    """What one pass over a manifest leaves in memory: 18 bytes a track.

    Args:
        manifest: The file.
        root: Folder that all its tracks lie in; empty if there is none.
        fingerprint: Of all that shards depend on: the same collection in another place has the same.
        ids: Identities of the tracks that are long enough, as numbers.
        offsets: Where their lines begin.
        clips: How many clips each gives.
        splits: Numbers of their splits.
        short: Where the lines of the others begin.
    """

    manifest: Path
    root: str = ""
    fingerprint: str = ""
    ids: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    clips: array[int] = field(default_factory=lambda: array("B"))
    splits: array[int] = field(default_factory=lambda: array("B"))
    short: array[int] = field(default_factory=lambda: array("Q"))


def survey(manifest: Path, clips_of: Callable[[Track], int], validation: float, test: float) -> Survey:
    """Read a manifest once.

    Args:
        manifest: The file.
        clips_of: How many clips a track gives.
        validation: Share of tracks that validate.
        test: Share of tracks that test.

    Raises:
        InputError: if it is missing, damaged, or lists no tracks or one twice.
    """
    import numpy as np

    found, total, root = Survey(manifest), 0, None
    for offset, track in read_tracks(manifest):
        # A sum does not depend on the order of the lines, and needs no sorting of them.
        total += int.from_bytes(hashlib.sha256(replace(track, path="").to_json().encode()).digest())
        if not is_url(track.path):
            folder = os.path.dirname(track.path)
            root = folder if root is None else os.path.commonpath([root, folder])
        number = min(clips_of(track), 255)
        if not number:
            found.short.append(offset)
            continue
        found.ids.append(int(track.track_id, 16))
        found.offsets.append(offset)
        found.clips.append(number)
        split = track.split or split_of(track.track_id, validation, test)
        found.splits.append(_SPLITS.index(split))
    if not found.ids and not found.short:
        raise InputError(f"{manifest} lists no tracks; look into {manifest.with_name(REJECTED)} for reasons.")
    ids = np.sort(np.frombuffer(found.ids, np.uint64)) if found.ids else np.zeros(0, np.uint64)
    if len(twice := ids[1:][ids[1:] == ids[:-1]]):
        raise InputError(f"{manifest} lists track {twice[0]:016x} a second time; keep one of the lines.")
    found.root, found.fingerprint = root or "", f"{total % 2**256:064x}"
    return found


@dataclass(frozen=True)
class Outline:
    """A shard to be: its name, split, number of clips, and where its tracks' lines begin."""

    name: str
    split: Split
    clips: int
    offsets: tuple[int, ...]

    def tracks(self, manifest: Path) -> tuple[Track, ...]:
        """Its tracks."""
        return tuple(read_track(manifest, offset) for offset in self.offsets)


def plan(found: Survey, tracks_per_shard: int) -> Iterator[Outline]:
    """Distribute tracks over shards: evenly, split by split, in the order of their identities.

    That order is as good as random, so that artists and sources are mixed in every shard.
    """
    import numpy as np

    order = np.argsort(np.frombuffer(found.ids, np.uint64), kind="stable")
    splits, clips = np.frombuffer(found.splits, np.uint8), np.frombuffer(found.clips, np.uint8)
    offsets = np.frombuffer(found.offsets, np.uint64)
    made = 0
    for code, split in enumerate(_SPLITS):
        members = order[splits[order] == code]
        count = max(math.ceil(len(members) / tracks_per_shard), min(len(members), _FEWEST))
        for number in range(count):
            part: numpy.ndarray = members[
                number * len(members) // count : (number + 1) * len(members) // count
            ]
            where = tuple(int(offset) for offset in offsets[part])
            yield Outline(f"audio-{made:06d}.tar", split, int(clips[part].sum()), where)
            made += 1


def rejected(item: Track, reason: str, detail: str) -> Rejected:
    """A track of the manifest that is left out; the details speak of its place in the collection."""
    return Rejected(item.source, reason, plain(detail.replace(item.path, item.source)))
