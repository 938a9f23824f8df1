"""Tags inside audio files: ID3 in MP3, WAV and AIFF, Vorbis comments, MP4 atoms, ASF and RIFF INFO."""

from __future__ import annotations

import functools
import io
import re
import struct
from pathlib import Path
from typing import Any, BinaryIO, cast

from data_pipeline.scan.metadata_fields import Ignored, parse_metadata

_MAX_READ = 1 << 26  # Bytes of one frame or chunk: cover images have a few million.
# Names of ID3v2.2, which iTunes also wrote into tags of version 2.3.
_OLD_NAMES = {"tt2": "title", "tp1": "artist", "tal": "album", "tye": "year", "tco": "genre"}
_CODES = re.compile(r"\((\d{1,3})\)")
_FIELDS = ("title", "artist", "album", "year", "genre")


class _BoundedReader:
    """A file that refuses reads of more than `_MAX_READ` bytes, which a damaged length may request."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.seek, self.tell = file.seek, file.tell  # prose: allow

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes."""
        if not 0 <= size <= _MAX_READ:
            raise ValueError(f"a tag of {size} bytes")
        return self.file.read(size)


def read_tags(audio: Path | bytes, decoder_tags: dict[str, str]) -> tuple[dict[str, Any], Ignored]:
    """Title, artist, album, year and genres of a file, as fields of `TrackMetadata`.

    tinytag reads the tags; where it does not know the format, or finds a damaged tag, those that the audio
    decoder found are used.

    Args:
        audio: The file, or its bytes.
        decoder_tags: Tags by libsndfile's names.

    Returns:
        The fields, and a count of the values that are not readable.
    """
    values = _tinytag_values(audio)
    values["genre"] = _genres(values.get("genre", []), decoder_tags.get("genre", ""))
    decoder_values = {**decoder_tags, "year": decoder_tags.get("date", "")}
    ignored = Ignored()
    fields: dict[str, Any] = {}
    for name in _FIELDS:
        texts = values.get(name) or []
        # A tag may be present twice, of which one is damaged: the first readable one counts.
        options = [texts] if name in ("genre", "artist") else [[text] for text in texts]
        if decoded := decoder_values.get(name):
            options.append(_genres([decoded], "") if name == "genre" else [decoded])
        unreadable = Ignored()
        parsed = next(
            filter(None, (parse_metadata({name: option}, "tag", unreadable) for option in options)), {}
        )
        fields |= parsed
        if not parsed:
            ignored.values.update(unreadable.values.keys())
    return fields, ignored


def _tinytag_values(audio: Path | bytes) -> dict[str, list[str]]:
    from tinytag import TinyTag, TinyTagException

    values: dict[str, list[str]] = {}
    try:
        with io.BytesIO(audio) if isinstance(audio, bytes) else open(audio, "rb") as file:
            tag = TinyTag.get(file_obj=cast(BinaryIO, _BoundedReader(file)), duration=False)
    except (TinyTagException, OSError, ValueError, RecursionError, MemoryError):
        return values
    for name, found in tag.as_dict().items():
        key = _OLD_NAMES.get(name.rstrip("\0"), name)
        if key in _FIELDS and isinstance(found, list):
            values[key] = [*values.get(key, []), *(str(item) for item in found)]
    return values


def _genres(genres: list[str], raw: str) -> list[str]:
    """Genres by name; of several codes such as ``(52)(53)``, tinytag names the first only."""
    codes = _CODES.findall(raw) if re.fullmatch(r"(\(\d{1,3}\)){2,}.*", raw, re.DOTALL) else []
    named = [*genres, *map(_genre_of_code, map(int, codes))]
    # What is still a number has no name.
    return [genre for genre in dict.fromkeys(named) if genre and not re.fullmatch(r"\(?\d{1,3}\)?", genre)]


@functools.cache
def _genre_of_code(code: int) -> str:
    """Name of a numbered genre of ID3v1, read by tinytag from a tag that holds nothing else."""
    from tinytag import TinyTag

    content = f"\0({code})".encode()
    frame = b"TCON" + struct.pack(">I", len(content)) + b"\0\0" + content
    tag = b"ID3\3\0\0" + bytes((0, 0, 0, len(frame)))
    genre = TinyTag.get(file_obj=io.BytesIO(tag + frame), duration=False).genre or ""
    return "" if genre.strip("()").isdigit() else genre
