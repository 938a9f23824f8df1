"""MagnaTagATune (Law et al. 2009): ``annotations_final.csv``, and ``clip_info_final.csv`` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.scan.annotations.table import read_rows

_INFO = "clip_info_final.csv"


def recognises(head: list[list[str]]) -> bool:
    """Whether the first lines of a table are MagnaTagATune's."""
    return {"clip_id", "mp3_path"} <= set(head[0])


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Tags by name of the clip; title, artist and album where the information of the clips is there."""
    beside = path.with_name(_INFO)
    info = {row["mp3_path"]: row for _, row in read_rows(beside)} if beside.is_file() else {}
    for _, row in read_rows(path):
        clip = info.get(row["mp3_path"], {})
        texts = {key: clip.get(key, "") for key in ("title", "artist", "album")}
        tags = tuple(tag for tag, value in row.items() if value == "1" and tag not in ("clip_id", "mp3_path"))
        fields = {key: value for key, value in texts.items() if value}
        yield PurePosixPath(row["mp3_path"]).stem, {**fields, "tags": tags}
