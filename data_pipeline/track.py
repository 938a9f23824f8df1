"""A track of a collection, and the manifest that lists tracks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.aside import write_aside
from data_pipeline.tar import checksum
from lightning_n2m.errors import InputError

REJECTED = "rejected.jsonl"
# What a metadata file may say of a track; the rest comes from the audio itself.
_TEXTS = ("title", "artist", "album", "year", "licence", "source")
_LISTS = ("genres", "tags", "descriptions")


@dataclass(frozen=True)
class Track:
    """One line of the manifest.

    Args:
        track_id: First 16 hexadecimal digits of the SHA-256 of the file.
        path: Where the file is.
        sample_rate: Its rate in Hz.
        frames: Its length in frames.
        source: Where it came from: its path within the collection, unless the metadata says more.
        title: Title; empty when unknown, as all text fields.
        artist: Artist or composer.
        album: Album or collection.
        year: Year of release, as text.
        genres: Genres, most telling first.
        tags: Further short tags.
        descriptions: Sentences about the track.
        licence: Licence of the recording.
        truth: Facts known exactly.
    """

    track_id: str
    path: str
    sample_rate: int
    frames: int
    source: str
    title: str = ""
    artist: str = ""
    album: str = ""
    year: str = ""
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    licence: str = ""
    truth: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate

    def to_json(self) -> str:
        """Its line of the manifest."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Rejected:
    """A track that is left out: its path within the collection, the kind of reason, and details."""

    path: str
    reason: str
    detail: str

    def to_json(self) -> str:
        """Its line of ``rejected.jsonl``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)


def identity(path: Path) -> str:
    """Identity of a track: the first 16 hexadecimal digits of the SHA-256 of its file."""
    return checksum(path)[:16]


def write_lines(path: Path, items: Iterable[Track | Rejected]) -> None:
    """Write JSON lines, aside first."""
    write_aside(path, "".join(item.to_json() + "\n" for item in items))


def counts(rejected: Iterable[Rejected]) -> str:
    """How many were left out for which reason, in words."""
    found: dict[str, int] = {}
    for item in rejected:
        found[item.reason] = found.get(item.reason, 0) + 1
    return ", ".join(f"{number} {reason}" for reason, number in sorted(found.items())) or "none"


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
            raise InputError(f"{place}: '{key}' is {value!r}; give text.")
        if value:
            found[key] = value
    for key in _LISTS:
        value = values.get(key)
        value = [value] if isinstance(value, str) else value
        if value is not None and not (
            isinstance(value, list) and all(isinstance(item, str) for item in value)
        ):
            raise InputError(f"{place}: '{key}' is {value!r}; give a list of texts.")
        if value:
            found[key] = tuple(value)
    truth = values.get("truth")
    if truth is not None and not isinstance(truth, dict):
        raise InputError(f"{place}: 'truth' is {truth!r}; give a JSON object.")
    if truth:
        found["truth"] = truth
    return found


def read_manifest(path: Path) -> list[Track]:
    """Read a manifest.

    Raises:
        InputError: if it is missing, damaged or empty.
    """
    found: dict[str, Track] = {}
    for place, values in read_json_lines(path, "build it with 'python -m data_pipeline manifest'"):
        try:
            known = {f.name for f in dataclasses.fields(Track)}
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known
            }
            track = Track(**fields)
            if not (track.sample_rate > 0 and track.frames > 0):
                raise ValueError("no audio")
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{place} is no track ({error}); build the manifest again.") from error
        if track.track_id in found:
            raise InputError(f"{place} lists track {track.track_id} a second time; keep one of the lines.")
        found[track.track_id] = track
    if not found:
        raise InputError(f"{path} lists no tracks; look into {path.with_name(REJECTED)} for the reasons.")
    return list(found.values())


def read_json_lines(path: Path, remedy: str) -> list[tuple[str, Any]]:
    """Parse a file of JSON lines.

    Args:
        path: The file.
        remedy: What to do when it is missing or damaged, as part of a sentence.

    Returns:
        File and line, and the value, of each line that is not empty.

    Raises:
        InputError: if the file cannot be read, or a line is no JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'}); {remedy}."
        ) from error
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                found.append((f"{path}, line {number},", json.loads(line)))
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}, is no JSON ({error.msg}); {remedy}.") from error
    return found
