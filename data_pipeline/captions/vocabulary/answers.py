"""Answers of a language model, stored line by line, so that an interrupted run loses nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.writer import Writer
from data_pipeline.progress import progress


def answers(path: Path, writer: Writer, songs: Sequence[Song]) -> list[tuple[Song, str]]:
    """Let a writer describe songs, except for those that it has described before.

    Args:
        path: JSON lines of writer, title, artist and answer; new answers are appended as they arrive.
        writer: The language model.
        songs: What to describe.

    Returns:
        Each song with its answer, in the order of the songs.

    Raises:
        InputError: if the writer fails; answers from before stay in the file.
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
            file.write(_to_line(line))
            file.flush()
            report()
    return [(song, known[song]) for song in dict.fromkeys(songs)]


def _to_line(values: dict[str, str]) -> str:
    """One line of the file; halves of surrogate pairs are escaped, since UTF-8 has no form for them."""
    text = json.dumps(values, ensure_ascii=False)
    return (text if text.isascii() or _is_utf8(text) else json.dumps(values)) + "\n"


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(path: Path, writer: str) -> dict[Song, str]:
    """Answers of a writer so far; damaged lines are skipped, and their songs described again."""
    known: dict[Song, str] = {}
    if not path.is_file():
        return known
    data = path.read_bytes()
    if not data.endswith(b"\n") and data:
        # A killed run can leave half a line: the next answer must not be appended to it.
        data = data[: data.rfind(b"\n") + 1]
        path.write_bytes(data)
    for line in data.splitlines():
        try:
            item = json.loads(line)
            values = [item[name] for name in ("writer", "title", "artist", "answer")]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
        if all(isinstance(value, str) for value in values) and values[0] == writer:
            known[Song(values[1], values[2])] = values[3]
    return known
