"""Generations of a shard folder: the tracks of its first build, and those that each extension added.

Shards are never rewritten. A folder is extended by a manifest that holds all of its tracks and further ones:
the further ones become a new generation, in new shards. The file ``records/tracks-0000.bin`` of each
generation is written before its first shard, so that a killed extension resumes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from data_pipeline.shards.shard_plan import MIN_SHARDS, RECORDS, Outline, Survey, plan
from lightning_n2m.data.json_fields import FieldError, parse_json
from lightning_n2m.data.schema import INDEX
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, join, names, read_bytes, size, write_atomic

if TYPE_CHECKING:
    import numpy as np

_PLAN = "plan.json"
_TRACKS = "tracks"  # Key of plan.json: fingerprints of the manifests, one a generation.
_BYTES_PER_TRACK = 18


@dataclass(frozen=True)
class Generation:
    """Tracks that were added at once, in the order of their identities; see `Survey` for the fields."""

    ids: np.ndarray
    digests: np.ndarray
    clips: np.ndarray
    splits: np.ndarray

    def to_bytes(self) -> bytes:
        """Content of its file: one field after another, little-endian."""
        arrays = (self.ids.astype("<u8"), self.digests.astype("<u8"), self.clips, self.splits)
        return b"".join(array.tobytes() for array in arrays)

    @staticmethod
    def from_bytes(data: bytes) -> Generation:
        """Read what `to_bytes` gave.

        Raises:
            ValueError: if the length is not that of whole tracks.
        """
        import numpy as np

        count, rest = divmod(len(data), _BYTES_PER_TRACK)
        if rest:
            raise ValueError(f"{len(data)} bytes are not a multiple of {_BYTES_PER_TRACK}")
        ids, digests = np.frombuffer(data, "<u8", 2 * count).reshape(2, count)
        clips, splits = np.frombuffer(data, np.uint8, 2 * count, offset=16 * count).reshape(2, count)
        return Generation(ids, digests, clips, splits)

    def part(self, chosen: np.ndarray) -> Generation:
        """The tracks that a mask or an index array selects."""
        return Generation(self.ids[chosen], self.digests[chosen], self.clips[chosen], self.splits[chosen])


def outlines(generations: list[Generation], found: Survey, tracks_per_shard: int) -> Iterator[Outline]:
    """The shards of all generations, numbered throughout."""
    import numpy as np

    ids, offsets = np.frombuffer(found.ids, np.uint64), np.frombuffer(found.offsets, np.uint64)
    order = np.argsort(ids, kind="stable")
    first = 0
    for number, generation in enumerate(generations):
        lines = offsets[order[np.searchsorted(ids, generation.ids, sorter=order)]]
        # An extension adds to shards that exist, so that it needs no minimum of its own.
        min_shards = 1 if number else MIN_SHARDS
        for outline in plan(
            generation.clips, generation.splits, lines, tracks_per_shard, first=first, min_shards=min_shards
        ):
            first += 1
            yield outline


def claim(folder: Location, found: Survey, settings: dict[str, Any]) -> list[Generation]:
    """Reserve a folder for shards of these settings, or extend the shards that it holds.

    Args:
        folder: The shard folder, with its sub-folder of records.
        found: The manifest.
        settings: How tracks are cut and distributed.

    Returns:
        All generations; the last one is new if the manifest holds tracks that the folder lacks.

    Raises:
        InputError: if the folder holds shards of other settings, or of tracks that the manifest lacks or
            assigns to other splits.
    """
    import numpy as np

    everything = _generation_of(found)
    fingerprints = _read_plan(folder, settings)
    known = _read_generations(folder, len(fingerprints))
    if fingerprints == [found.fingerprint] and not known:  # a folder of an earlier version
        known = [everything]
        write_atomic(_tracks_path(folder, 0), everything.to_bytes())
    if len(known) < len(fingerprints):
        raise InputError(
            f"{folder} was built by an earlier version from another manifest; run this command once with "
            "that manifest, and then with the extended one."
        )
    is_new = np.ones(len(everything.ids), bool)
    for generation in known:
        place = np.searchsorted(everything.ids, generation.ids).clip(max=len(everything.ids) - 1)
        lacking = int((everything.ids[place] != generation.ids).sum())
        if lacking:
            raise InputError(
                f"{found.manifest} lacks {lacking} tracks of {folder}; give a manifest that holds them too, "
                "or another --output."
            )
        is_new[place] = False
    old = everything.part(~is_new)
    _compare(old, known, folder, extends=bool(is_new.any()))
    if is_new.any():
        write_atomic(_tracks_path(folder, len(known)), everything.part(is_new).to_bytes())
        known.append(everything.part(is_new))
        plan_text = json.dumps(settings | {_TRACKS: [*fingerprints, found.fingerprint]}, sort_keys=True)
        write_atomic(join(folder, f"{RECORDS}/{_PLAN}"), plan_text + "\n")
        if len(known) > 1:
            print(f"{folder} is extended by {int(is_new.sum())} tracks; its {len(old.ids)} tracks stay.")
    return known


def _compare(old: Generation, known: list[Generation], folder: Location, extends: bool) -> None:
    """Check that the manifest describes known tracks as before."""
    import numpy as np

    if not known:
        return
    ids = np.concatenate([item.ids for item in known])
    order = np.argsort(ids, kind="stable")

    def changed(name: str) -> int:
        before = np.concatenate([getattr(item, name) for item in known])[order]
        return int((before != getattr(old, name)).sum())

    if moved := max(changed("splits"), changed("clips")):
        raise InputError(
            f"The manifest gives {moved} tracks of {folder} another split or number of clips; give another "
            "--output."
        )
    if described := changed("digests"):
        if not extends:
            raise InputError(
                f"{folder} holds shards made with another description of {described} tracks; give another "
                "--output, or delete the folder."
            )
        print(f"{described} tracks have new metadata; finished shards keep what they had.")


def _generation_of(found: Survey) -> Generation:
    import numpy as np

    columns = (found.ids, found.digests, found.clips, found.splits)
    kinds = (np.uint64, np.uint64, np.uint8, np.uint8)
    arrays = [np.frombuffer(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return Generation(*arrays).part(np.argsort(arrays[0], kind="stable"))


def _tracks_path(folder: Location, number: int) -> Location:
    return join(folder, f"{RECORDS}/tracks-{number:04d}.bin")


def _read_plan(folder: Location, settings: dict[str, Any]) -> list[str]:
    """Fingerprints of the manifests that a folder was built from; none for a new folder."""
    path = join(folder, f"{RECORDS}/{_PLAN}")
    if size(path) is None:
        if any(name == INDEX or name.startswith("audio-") for name in names(folder)):
            raise InputError(
                f"{folder} holds shards of unknown settings; give another --output, or delete the folder."
            )
        return []
    try:
        stored = parse_json(read_bytes(path), 1 << 24)
    except FieldError as error:
        raise InputError(f"{path} is damaged ({error}); give another --output.") from error
    if not isinstance(stored, dict):
        raise InputError(f"{path} is damaged (it is not an object); give another --output.")
    tracks = stored.pop(_TRACKS, [])
    if different := sorted(key for key in {*stored, *settings} if stored.get(key) != settings.get(key)):
        options = _options(stored, [key for key in different if key in settings])
        raise InputError(
            f"{folder} holds shards made with other {' and '.join(map(ascii, different))}; "
            f"to extend it, give {options}; otherwise give another --output, or delete the "
            "folder."
        )
    return [tracks] if isinstance(tracks, str) else list(tracks)


def _options(stored: dict[str, Any], keys: list[str]) -> str:
    """The options of `shard` that these settings were given by; ASCII, as they may come from a stranger."""
    texts = {key: json.dumps(stored[key])[:40] for key in keys if stored.get(key) is not None}
    options = [f"--{key} {texts[key]}" if key in texts else f"no --{key}" for key in keys]
    return " ".join(options) or "the version of the program that built it"


def _read_generations(folder: Location, count: int) -> list[Generation]:
    """The generations whose files exist, up to the first that is missing."""
    generations = []
    for number in range(count):
        path = _tracks_path(folder, number)
        if size(path) is None:
            break
        try:
            generations.append(Generation.from_bytes(read_bytes(path)))
        except ValueError as error:
            raise InputError(f"{path} is damaged ({error}); give another --output.") from error
    return generations
