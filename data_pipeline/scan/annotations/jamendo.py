"""MTG-Jamendo (Bogdanov et al. 2019): ``autotagging*.tsv``, and ``raw.meta.tsv`` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.scan.annotations.table import read_lines, read_rows

_META = "raw.meta.tsv"


def recognises(head: list[list[str]]) -> bool:
    """Whether the first lines of a table are MTG-Jamendo's."""
    return head[0][:6] == ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Genres, instruments and moods by the number that names the file; the rest from ``raw.meta.tsv``."""
    beside = path.with_name(_META)
    meta = {row["TRACK_ID"]: row for _, row in read_rows(beside)} if beside.is_file() else {}
    for number, cells in enumerate(read_lines(path, "\t")):
        if number == 0 or len(cells) < 6:
            continue
        # Each tag is a cell of its own, with its category: genre---rock.
        tags = [cell.partition("---")[::2] for cell in cells[5:] if "---" in cell]
        about = meta.get(cells[0], {})
        fields = {
            "title": about.get("TRACK_NAME", ""),
            "artist": about.get("ARTIST_NAME", ""),
            "album": about.get("ALBUM_NAME", ""),
            "year": about.get("RELEASEDATE", "")[:4],
            "source": about.get("URL", ""),
            "genres": tuple(tag for category, tag in tags if category == "genre"),
            "tags": tuple(tag for category, tag in tags if category != "genre"),
        }
        # 14/214.mp3 is 14/214.low.mp3 in the smaller edition.
        yield PurePosixPath(cells[3]).name.partition(".")[0], {k: v for k, v in fields.items() if v}
