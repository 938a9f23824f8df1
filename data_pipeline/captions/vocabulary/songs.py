"""The songs that a language model describes."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.text_file import read_text
from data_pipeline.scan.track import read_json_lines
from lightning_n2m.errors import InputError


def read_songs(path: Path) -> list[Song]:
    """Read titles and artists, each pair once.

    Args:
        path: A CSV file with the columns ``title`` and ``artist``, or JSON lines with such keys: a
            manifest, or the metadata of a collection.

    Raises:
        InputError: if the file is damaged or names no title.
    """
    remedy = "give --songs a CSV file with the columns title and artist, or JSON lines with such keys"
    rows: list[dict[str, Any]]
    if path.suffix.lower() == ".csv":
        text = read_text(path, remedy)
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error as error:
            raise InputError(f"{path} cannot be read (not a CSV file); {remedy}.") from error
    else:
        rows = [values for _, _, values in read_json_lines(path, remedy) if isinstance(values, dict)]
    songs = dict.fromkeys(Song(_one_line(row.get("title")), _one_line(row.get("artist"))) for row in rows)
    named = [song for song in songs if song.title]
    if not named:
        raise InputError(f"{path} names no song; {remedy}.")
    return named


def _one_line(value: Any) -> str:
    """A title or artist without line breaks, which would end the line of the prompt."""
    return " ".join(str(value or "").split())
