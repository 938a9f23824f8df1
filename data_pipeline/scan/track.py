"""A track of a collection, and the manifest that lists tracks."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from data_pipeline.scan.json_text import MAX_BYTES, parse_json
from data_pipeline.tar import checksum
from lightning_n2m.data.schema import Split, TrackMetadata
from lightning_n2m.errors import InputError
from lightning_n2m.storage import atomic_path

REJECTED = "rejected.jsonl"
LISTS = ("genres", "tags", "descriptions")  # Fields of `TrackMetadata` that hold several texts.


@dataclass(frozen=True)
class Track(TrackMetadata):
    """A line of the manifest; the fields of `TrackMetadata` are those that its clips inherit.

    Args:
        track_id: First 16 hexadecimal digits of the SHA-256 of the file.
        path: Where the file is: a path, a URL, or ``TAR::OFFSET+SIZE``.
        sample_rate: Its rate in Hz.
        frames: Its length in frames.
        decoder: How the file is decoded where libsndfile cannot read it as it is (see `decoders`).
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
        except UnicodeEncodeError:  # Paths may hold bytes that are not UTF-8; JSON has escapes for them.
            return json.dumps(values, sort_keys=True)
        return text


@dataclass(frozen=True)
class Rejected:
    """A file that is not used: its path within the collection, the kind of reason, and details."""

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
    """Numbers of rejected files by reason, in words."""
    return ", ".join(f"{number} {reason}" for reason, number in sorted(reasons.items())) or "none"


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
_TEXTS = _FIELDS - {"sample_rate", "frames", "truth", *LISTS}


def _track(place: str, values: Any) -> Track:
    try:
        known: dict[str, Any] = {key: value for key, value in values.items() if key in _FIELDS}
        _check_types(known)
        lists = {key: tuple(known[key]) for key in LISTS if key in known}
        return Track(**{**known, **lists})
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{place} is not a track ({error}); build the manifest again.") from error


def _check_types(values: dict[str, Any]) -> None:
    for key, value in values.items():
        if key in _TEXTS:
            right = isinstance(value, str)
        elif key in LISTS:
            right = isinstance(value, list) and all(isinstance(item, str) for item in value)
        elif key == "truth":
            right = isinstance(value, dict)
        else:
            right = isinstance(value, int) and not isinstance(value, bool) and value > 0
        if not right:
            raise ValueError(f"'{key}' is {repr(value)[:80]}")
    if not re.fullmatch(r"[0-9a-f]{1,16}", values.get("track_id", "")):
        raise ValueError("its 'track_id' is not 16 hexadecimal digits")
    if values.get("split", "") not in ("", *get_args(Split)):
        raise ValueError(f"'split' is {values['split'][:80]!r}")


def read_json_lines(path: Path, remedy: str) -> Iterator[tuple[str, int, Any]]:
    """Parse a file of JSON lines one by one.

    Args:
        path: The file.
        remedy: What to do when it is missing or damaged, as part of a sentence.

    Yields:
        File and line, the byte at which it begins, and the value, of each line that is not empty.

    Raises:
        InputError: if the file cannot be read, or a line is not JSON, too long or nested too deeply.
    """
    offset = 0
    try:
        with open(path, "rb") as file:
            number = 0
            while line := file.readline(MAX_BYTES + 1):
                number += 1
                place = f"{path}, line {number},"
                if line.strip():
                    try:
                        value = parse_json(line)
                    except ValueError as error:
                        raise InputError(f"{place} is not JSON ({error}); {remedy}.") from error
                    yield place, offset, value
                offset += len(line)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); {remedy}.") from error
