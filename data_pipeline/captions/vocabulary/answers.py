"""What a language model has said so far: kept line by line, so that an interrupted run loses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.writer import Writer
from data_pipeline.progress import progress


def answers(path: Path, writer: Writer, songs: Sequence[Song]) -> list[tuple[Song, str]]:
    """Ask a writer about songs, except for those that it has answered before.

    Args:
        path: JSON lines of writer, title, artist and answer; new answers are appended as they come.
        writer: Who is asked.
        songs: What about.

    Returns:
        Each song with its answer, in the order of the songs.

    Raises:
        InputError: if the writer fails; what it said before stays in the file.
    """
    known = _read(path, writer.name)
    missing = [song for song in dict.fromkeys(songs) if song not in known]
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        path.open("a", encoding="utf-8") as file,
        progress("writing", len(songs), "songs", len(songs) - len(missing)) as report,
    ):
        for number, text in writer.write(missing) if missing else ():
            song = missing[number]
            known[song] = text
            line = {"writer": writer.name, "title": song.title, "artist": song.artist, "answer": text}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
            file.flush()
            report()
    return [(song, known[song]) for song in dict.fromkeys(songs)]


def _read(path: Path, writer: str) -> dict[Song, str]:
    found: dict[Song, str] = {}
    if not path.is_file():
        return found
    data = path.read_bytes()
    if not data.endswith(b"\n") and data:
        # A kill in the middle of a line: the next answer must not be glued to it.
        data = data[: data.rfind(b"\n") + 1]
        path.write_bytes(data)
    for line in data.splitlines():
        try:
            item = json.loads(line)
            if item["writer"] == writer:
                found[Song(item["title"], item["artist"])] = item["answer"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
            continue  # It is asked again.
    return found
