"""FMA (Defferrard et al. 2017): ``tracks.csv`` with two lines of headers, ``genres.csv`` beside it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.scan.annotations.table import read_lines, read_rows


def recognises(head: list[list[str]]) -> bool:
    """Whether the first lines of a table are those of FMA's tracks."""
    return {"album", "artist", "track"} <= set(head[0]) and "genre_top" in head[1]


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Title, artist, album, year, genres, tags and licence by the six-digit number of a track."""
    beside = path.with_name("genres.csv")
    titles = {row["genre_id"]: row["title"] for _, row in read_rows(beside)} if beside.is_file() else {}
    lines = read_lines(path, ",")
    columns = list(zip(next(lines), next(lines), strict=True))
    for cells in lines:
        if not cells or not cells[0].isdigit():
            continue
        row = dict(zip(columns, cells, strict=False))
        top = row.get(("track", "genre_top"), "")
        codes = _listed(row.get(("track", "genres_all")) or row.get(("track", "genres"), ""))
        genres = [top, *(titles.get(str(code), "") for code in codes)]
        fields = {
            "title": row.get(("track", "title"), ""),
            "artist": row.get(("artist", "name"), ""),
            "album": row.get(("album", "title"), ""),
            "year": row.get(("album", "date_released"), "")[:4],
            "licence": row.get(("track", "license"), ""),
            "genres": tuple(dict.fromkeys(genre.lower() for genre in genres if genre)),
            "tags": tuple(map(str, _listed(row.get(("track", "tags"), "")))),
        }
        yield f"{int(cells[0]):06d}", {key: value for key, value in fields.items() if value}


def _listed(cell: str) -> list[Any]:
    """A list as Python writes it; a cell that holds none is empty."""
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        return []
    return list(found) if isinstance(found, list) else []
