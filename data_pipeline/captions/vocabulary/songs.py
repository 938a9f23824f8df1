"""The songs that a language model is asked about."""

from __future__ import annotations

import csv
from pathlib import Path

from data_pipeline.captions.vocabulary.examples import Song
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
    if path.suffix.lower() == ".csv":
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            reason = getattr(error, "strerror", None) or "not a CSV file"
            raise InputError(f"{path} cannot be read ({reason}); {remedy}.") from error
    else:
        rows = [values for _, _, values in read_json_lines(path, remedy) if isinstance(values, dict)]
    songs = [
        Song(" ".join(str(row.get("title") or "").split()), " ".join(str(row.get("artist") or "").split()))
        for row in rows
    ]
    found = list(dict.fromkeys(song for song in songs if song.title))
    if not found:
        raise InputError(f"{path} names no song; {remedy}.")
    return found
