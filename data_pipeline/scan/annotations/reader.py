"""Metadata of a collection: a table of its owner, or that of a public set, recognised by its columns."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.scan.annotations import audioset, fma, jamendo, magnatagatune, musiccaps
from data_pipeline.scan.annotations.table import (
    check_readable,
    delimiter_of,
    is_delimited,
    read_lines,
    read_rows,
)
from data_pipeline.scan.metadata_fields import Ignored, column_key, is_missing, parse_metadata
from lightning_n2m.errors import InputError

PUBLIC_SETS = (musiccaps, magnatagatune, audioset, fma, jamendo)
# Columns that name a file, and columns that name what its file name contains; earlier ones count first.
_PATHS = (
    "path", "file_path", "filepath", "audio_path", "audio_filepath", "file", "filename", "file_name",
    "audio_file", "audio_filename", "audio", "location", "track_path", "mp3_path", "wav_path", "local_path",
)  # fmt: skip
_IDENTITIES = ("ytid", "youtube_id", "yt_id", "video_id", "track_id", "clip_id", "song_id", "id", "key")
# YTID, YTID_30, [YTID]-[30-40], Y-YTID at the beginning of a name, as downloaders of AudioSet name files.
_YOUTUBE = re.compile(r"\[?Y?([\w-]{11})(?=$|[\]_.-])")
# "Title [YTID]" of yt-dlp, and "Title-YTID" of youtube-dl.
_YOUTUBE_AT_END = re.compile(r"(?:\[([\w-]{11})\]|-([\w-]{11}))$")


@dataclass(frozen=True)
class Row:
    """What one row says.

    Args:
        key: The path of a file, or an identity that its name contains.
        is_path: Which of the two.
        fields: Fields of `TrackMetadata`.
    """

    key: str
    is_path: bool
    fields: dict[str, Any]


@dataclass
class Annotations:
    """The rows of a metadata file.

    Args:
        path: The file.
        ignored: Counts what is not used, while the rows are read.
        rows: Counts the rows.
        without_key: Counts the rows that name no file.
    """

    path: Path
    ignored: Ignored = field(default_factory=Ignored)
    rows: int = 0
    without_key: int = 0

    def check(self) -> None:
        """Read the first row, so that a wrong file is refused before the collection is scanned.

        Raises:
            InputError: if the file cannot be read, or its form is not known.
        """
        next(iter(Annotations(self.path)), None)

    def __iter__(self) -> Iterator[Row]:
        """Read the rows.

        Raises:
            InputError: if the file cannot be read, its form is not known, or a value is of the wrong kind.
        """
        check_readable(self.path)
        if is_delimited(self.path):
            lines = read_lines(self.path, delimiter_of(self.path))
            head = [[cell.strip() for cell in next(lines, [])] for _ in range(3)]
            for public in PUBLIC_SETS:
                if public.recognises(head):
                    for key, fields in public.read(self.path):
                        self.rows += 1
                        yield Row(key, False, fields)
                    return
        for place, values in read_rows(self.path):
            self.rows += 1
            key, is_path, used = _key_of(values)
            if not used:
                names = ", ".join(map(str, [*values][:20]))
                raise InputError(
                    f"{place} has no 'path' (its columns: {names}); give the path of each file relative to "
                    "the source."
                )
            rest = {name: value for name, value in values.items() if name not in used}
            fields = parse_metadata(rest, place, self.ignored)
            if key:
                yield Row(key, is_path, fields)
            else:
                self.without_key += 1


def _key_of(values: dict[str, Any]) -> tuple[str, bool, list[str]]:
    """The key of a row, whether it is a path, and the columns that name files."""
    columns: dict[str, str] = {}
    for name in values:
        columns.setdefault(column_key(name), name)
    key, is_path, used = "", True, []
    for names, are_paths in ((_PATHS, True), (_IDENTITIES, False)):
        for name in names:
            if name not in columns:
                continue
            value = values[columns[name]]
            if isinstance(value, dict):  # A column of audio of the datasets library.
                value = value.get("path")
            if isinstance(value, int) and not isinstance(value, bool):
                value = str(value)
            used.append(columns[name])
            if not key and isinstance(value, str) and not is_missing(value):
                key, is_path = value.strip(), are_paths
    return key, is_path, used


def keys_of(name: str) -> list[str]:
    """Identities that a file name may contain: those of YouTube, the name up to its first dot, its stem."""
    path = PurePosixPath(unicodedata.normalize("NFC", name))
    start, end = _YOUTUBE.match(path.name), _YOUTUBE_AT_END.search(path.stem)
    found = [start[1]] if start else []
    found += [end[1] or end[2]] if end else []
    return list(dict.fromkeys([*found, path.name.partition(".")[0], path.stem]))


def normal_path(path: str, root: str) -> str:
    """A path of a table as a name within the collection.

    Args:
        path: As the table has it: relative, absolute, with ``./`` or backslashes.
        root: Folder of the collection, or its URL.
    """
    text = unicodedata.normalize("NFC", path)
    for prefix in {root.rstrip("/") + "/", "file://" + root.rstrip("/") + "/"}:
        if root and text.startswith(prefix):
            text = text[len(prefix) :]
    parts: list[str] = []
    for part in text.replace("\\", "/").split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)
