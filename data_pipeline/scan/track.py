"""A track of a collection, and the manifest that lists tracks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from data_pipeline.tar import checksum
from lightning_n2m.data.schema import Split, TrackMetadata
from lightning_n2m.errors import InputError
from lightning_n2m.storage import atomic_path

REJECTED = "rejected.jsonl"
# What a metadata file may say of a track; the rest comes from the audio itself.
_TEXTS = ("title", "artist", "album", "year", "licence", "source")
_LISTS = ("genres", "tags", "descriptions")
_SPLITS = get_args(Split)


@dataclass(frozen=True)
class Track(TrackMetadata):
    """One line of the manifest; the fields of `TrackMetadata` are those that its clips inherit.

    Args:
        track_id: First 16 hexadecimal digits of the SHA-256 of the file.
        path: Where the file is: a path, a URL, or ``TAR::OFFSET+SIZE``.
        sample_rate: Its rate in Hz.
        frames: Its length in frames.
        decoder: ``ffmpeg`` where libsndfile cannot read the file.
    """

    track_id: str
    path: str
    sample_rate: int
    frames: int
    decoder: str = ""

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate

    def to_json(self) -> str:
        """Its line of the manifest."""
        values = dataclasses.asdict(self)
        text = json.dumps(values, ensure_ascii=False, sort_keys=True)
        try:
            text.encode()
        except UnicodeEncodeError:  # Paths may hold bytes that are no UTF-8; those go only as escapes.
            return json.dumps(values, sort_keys=True)
        return text


@dataclass(frozen=True)
class Rejected:
    """A track that is left out: its path within the collection, the kind of reason, and details."""

    path: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """Its line of ``rejected.jsonl``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)


def identity(audio: Path | bytes) -> str:
    """Identity of a track: the first 16 hexadecimal digits of the SHA-256 of its file."""
    whole = checksum(audio) if isinstance(audio, Path) else hashlib.sha256(audio).hexdigest()
    return whole[:16]


def write_lines(path: Path, items: Iterable[Track | Rejected]) -> None:
    """Write JSON lines one at a time, in an atomic write."""
    with atomic_path(path) as part, open(part, "w", encoding="utf-8") as file:
        file.writelines(item.to_json() + "\n" for item in items)


def counts(reasons: dict[str, int]) -> str:
    """How many were left out for which reason, in words."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "none"


def metadata(values: object, place: str) -> dict[str, Any]:
    """Check what a metadata file says of a track; unknown keys are passed over.

    Args:
        values: Parsed JSON.
        place: File and line, for the message.

    Raises:
        InputError: if a key holds the wrong kind of value.
    """
    if not isinstance(values, dict):
        raise InputError(
            f'{place} is not a JSON object; write one like {{"title": "...", "genres": ["..."]}}.'
        )
    found: dict[str, Any] = {}
    for key in _TEXTS:
        value = values.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{place} '{key}' is {value!r}; give text.")
        if value:
            found[key] = value
    for key in _LISTS:
        value = values.get(key)
        value = [value] if isinstance(value, str) else value
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise InputError(f"{place} '{key}' is {value!r}; give a list of texts.")
        if value:
            found[key] = tuple(value)
    truth = values.get("truth")
    if truth is not None and not isinstance(truth, dict):
        raise InputError(f"{place} 'truth' is {truth!r}; give a JSON object.")
    if truth:
        found["truth"] = truth
    split = values.get("split")
    if split and split not in _SPLITS:
        raise InputError(f"{place} 'split' is {split!r}; give one of {', '.join(_SPLITS)}, or leave it out.")
    if split:
        found["split"] = split
    return found


_REMEDY = "build it with 'python -m data_pipeline manifest'"


def read_tracks(path: Path) -> Iterator[tuple[int, Track]]:
    """The tracks of a manifest one by one, each with the byte at which its line begins.

    Raises:
        InputError: if it is missing or damaged.
    """
    for place, offset, values in read_json_lines(path, _REMEDY):
        yield offset, _track(place, values)


def read_track(path: Path, offset: int) -> Track:
    """The track whose line begins at a byte of the manifest."""
    with open(path, "rb") as file:
        file.seek(offset)
        return _track(str(path), json.loads(file.readline()))


def read_manifest(path: Path) -> list[Track]:
    """All tracks of a manifest that is known to be small."""
    return [track for _, track in read_tracks(path)]


_FIELDS = {item.name for item in dataclasses.fields(Track)}


def _track(place: str, values: Any) -> Track:
    try:
        known: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in _FIELDS
        }
        track = Track(**known)
        if not (track.sample_rate > 0 and track.frames > 0):
            raise ValueError("no audio")
        int(track.track_id, 16)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{place} is no track ({error}); build the manifest again.") from error
    return track


def read_json_lines(path: Path, remedy: str) -> Iterator[tuple[str, int, Any]]:
    """Parse a file of JSON lines one by one.

    Args:
        path: The file.
        remedy: What to do when it is missing or damaged, as part of a sentence.

    Yields:
        File and line, the byte at which it begins, and the value, of each line that is not empty.

    Raises:
        InputError: if the file cannot be read, or a line is no JSON.
    """
    offset = 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                place = f"{path}, line {number},"
                if line.strip():
                    try:
                        value = json.loads(line)
                    except json.JSONDecodeError as error:
                        raise InputError(f"{place} is no JSON ({error.msg}); {remedy}.") from error
                    yield place, offset, value
                offset += len(line)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path} cannot be read ({reason}); {remedy}.") from error
