"""Which tracks of a manifest go into which shard, and the records of finished shards."""

from __future__ import annotations

import dataclasses
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
from lightning_n2m.data.json_fields import FieldError, parse_json
from lightning_n2m.data.schema import Shard, Split, read_shard_fields, split_of
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_url, join, locate, read_bytes, size

if TYPE_CHECKING:
    import numpy as np

# Results of finished shards, beside the shards: a killed job resumes from them.
RECORDS = "records"
# Every rank and loader worker needs a shard of its own, so small collections get small shards.
MIN_SHARDS = 8
_SPLITS: tuple[Split, ...] = get_args(Split)
_MAX_RECORD = 1 << 26  # Bytes of the record of one shard.


@dataclass(frozen=True)
class Result:
    """A finished shard, and the tracks that were rejected while it was built."""

    shard: Shard
    rejected: tuple[Rejected, ...] = ()

    def to_json(self) -> str:
        """The text of its record."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True) + "\n"


@dataclass(frozen=True)
class Place:
    """Paths of a shard and of its record."""

    folder: str
    name: str

    @property
    def audio(self) -> Location:
        """The tar file."""
        return join(locate(self.folder), self.name)

    @property
    def record(self) -> Location:
        """Its record, written after the tar file."""
        return join(locate(self.folder), f"{RECORDS}/{self.name.removesuffix('.tar')}.json")

    def result(self) -> Result | None:
        """The record of an earlier run, if it is intact and the tar file has the recorded size."""
        if size(self.record) is None:
            return None
        try:
            values = parse_json(read_bytes(self.record), _MAX_RECORD)
            shard = read_shard_fields(values["shard"])
            result = Result(shard, tuple(Rejected(**item) for item in values["rejected"]))
        except (FieldError, TypeError, KeyError):
            return None
        return result if shard.name == self.name and size(self.audio) == shard.bytes else None


@dataclass
class Survey:
    """What one pass over a manifest leaves in memory: 26 bytes a track.

    Args:
        manifest: The file.
        root: Folder that holds all tracks; empty if there is none.
        fingerprint: Digest of all that shards depend on; the same for a collection that was moved.
        ids: Identities of the tracks as integers.
        offsets: Positions of their lines in the manifest, in bytes.
        digests: Digests of the lines without the path.
        clips: Number of clips of each track; 0 for a track that is too short.
        splits: Number of its split.
    """

    manifest: Path
    root: str = ""
    fingerprint: str = ""
    ids: array[int] = field(default_factory=lambda: array("Q"))
    offsets: array[int] = field(default_factory=lambda: array("Q"))
    digests: array[int] = field(default_factory=lambda: array("Q"))
    clips: array[int] = field(default_factory=lambda: array("B"))
    splits: array[int] = field(default_factory=lambda: array("B"))

    def too_short(self) -> Iterator[Track]:
        """Tracks that are shorter than a clip."""
        for offset, clips in zip(self.offsets, self.clips, strict=True):
            if not clips:
                yield read_track(self.manifest, offset)


def survey(manifest: Path, clips_of: Callable[[Track], int], validation: float, test: float) -> Survey:
    """Read a manifest once.

    Args:
        manifest: The file.
        clips_of: Number of clips of a track.
        validation: Share of tracks that validate.
        test: Share of tracks that test.

    Raises:
        InputError: if it is missing or damaged, lists no tracks, or lists one twice.
    """
    import numpy as np

    result, total, root = Survey(manifest), 0, None
    for offset, track in read_tracks(manifest):
        # A sum does not depend on the order of the lines, and needs no sorting of them.
        digest = hashlib.sha256(replace(track, path="").to_json().encode()).digest()
        total += int.from_bytes(digest)
        if not is_url(track.path):
            # Absolute: a manifest may mix relative and absolute paths.
            folder = os.path.dirname(os.path.abspath(track.path))
            root = folder if root is None else os.path.commonpath([root, folder])
        result.ids.append(int(track.track_id, 16))
        result.offsets.append(offset)
        result.digests.append(int.from_bytes(digest[:8]))
        result.clips.append(min(clips_of(track), 255))
        split = track.split or split_of(track.track_id, validation, test)
        result.splits.append(_SPLITS.index(split))
    if not result.ids:
        raise InputError(f"{manifest} lists no tracks; look into {manifest.with_name(REJECTED)} for reasons.")
    ids = np.sort(np.frombuffer(result.ids, np.uint64))
    if len(repeated := ids[1:][ids[1:] == ids[:-1]]):
        raise InputError(f"{manifest} lists track {repeated[0]:016x} a second time; keep one of the lines.")
    result.root, result.fingerprint = root or "", f"{total % 2**256:064x}"
    return result


@dataclass(frozen=True)
class Outline:
    """A planned shard: its name, split, number of clips, and the positions of its tracks' lines."""

    name: str
    split: Split
    clips: int
    offsets: tuple[int, ...]

    def tracks(self, manifest: Path) -> tuple[Track, ...]:
        """Its tracks."""
        return tuple(read_track(manifest, offset) for offset in self.offsets)


def plan(
    clips: np.ndarray,
    splits: np.ndarray,
    offsets: np.ndarray,
    tracks_per_shard: int,
    first: int = 0,
    min_shards: int = MIN_SHARDS,
) -> Iterator[Outline]:
    """Distribute tracks over shards: evenly, split by split, in the order of their identities.

    Identities are hashes, so that this order mixes artists and sources in every shard.

    Args:
        clips: Number of clips of each track, in the order of their identities; tracks without are skipped.
        splits: Number of the split of each track.
        offsets: Position of the line of each track in the manifest.
        tracks_per_shard: Tracks of a shard, at most.
        first: Number of the first shard.
        min_shards: Shards of a split, at least, if it has as many tracks.
    """
    import numpy as np

    shard_number = first
    for code, split in enumerate(_SPLITS):
        members = np.flatnonzero((splits == code) & (clips > 0))
        count = max(math.ceil(len(members) / tracks_per_shard), min(len(members), min_shards))
        for part_number in range(count):
            start, end = (edge * len(members) // count for edge in (part_number, part_number + 1))
            part = members[start:end]
            lines = tuple(int(offset) for offset in offsets[part])
            yield Outline(f"audio-{shard_number:06d}.tar", split, int(clips[part].sum()), lines)
            shard_number += 1


def rejected(item: Track, reason: str, detail: str) -> Rejected:
    """A track of the manifest that is skipped; details name its path within the collection only."""
    return Rejected(item.source, reason, plain(detail.replace(item.path, item.source)))
