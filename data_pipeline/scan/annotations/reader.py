"""Metadata of a collection: whose it is, is seen from the columns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.scan.annotations import audioset, fma, jamendo, magnatagatune, musiccaps
from data_pipeline.scan.annotations.table import delimiter_of, read_lines, read_rows
from data_pipeline.scan.track import metadata
from lightning_n2m.errors import InputError

Known = tuple[str, dict[str, Any]]
PUBLIC_SETS = (musiccaps, magnatagatune, audioset, fma, jamendo)
_LISTS = ("genres", "tags", "descriptions")
# YTID, YTID_30, [YTID]-[30-40], Y-YTID: as downloaders of YouTube's audio name it.
_YOUTUBE = re.compile(r"\[?Y?([\w-]{11})(?=$|[\]_.-])")


def read_annotations(path: Path) -> Iterator[Known]:
    """What a file says of tracks: a key that a track goes by (see `keys_of`), and fields of `Track`.

    Raises:
        InputError: if the file cannot be read, is of no known form, or a value is of the wrong kind.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        lines = read_lines(path, delimiter_of(path))
        head = [next(lines, []) for _ in range(3)]
        for public in PUBLIC_SETS:
            if public.recognises(head):
                yield from public.read(path)
                return
    for place, values in read_rows(path):
        name = values.get("path")
        if not isinstance(name, str) or not name:
            raise InputError(f"{place} has no 'path'; give the path of the file relative to the source.")
        yield name, metadata(_parsed(values, place), place)


def keys_of(name: str) -> list[str]:
    """Keys that a track may go by, the vaguest first: YouTube's identity, stem, path in the collection."""
    path = PurePosixPath(name)
    youtube = _YOUTUBE.match(path.name)
    found = [youtube[1]] if youtube else []
    return list(dict.fromkeys([*found, path.name.partition(".")[0], path.stem, name]))


def _parsed(values: dict[str, Any], place: str) -> dict[str, Any]:
    """Cells of a CSV as what they stand for: lists between semicolons, the truth as JSON."""
    found = {key: value for key, value in values.items() if value is not None}
    for key in _LISTS:
        if isinstance(found.get(key), str) and ";" in found[key]:
            found[key] = [item.strip() for item in found[key].split(";") if item.strip()]
    if isinstance(found.get("truth"), str):
        try:
            found["truth"] = json.loads(found["truth"] or "{}")
        except json.JSONDecodeError as error:
            raise InputError(f"{place} 'truth' is no JSON ({error.msg}); give a JSON object.") from error
    return found
