"""What is known of a collection's files so far, kept on disk: memory stays flat, a kill loses little."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_pipeline.scan.file_scan import Origin
from data_pipeline.scan.track import Rejected, Track
from lightning_n2m.errors import InputError

_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE, origin BLOB, stamp TEXT, walk INTEGER,
    result TEXT, track_id TEXT, bytes INTEGER, signature BLOB, twin TEXT);
CREATE INDEX IF NOT EXISTS by_track ON files (track_id);
CREATE TABLE IF NOT EXISTS known (key TEXT PRIMARY KEY, fields TEXT, used INTEGER DEFAULT 0);
"""
_EVERY = 2.0  # Seconds between two commits: so much work a kill may cost.


@dataclass(frozen=True)
class Found:
    """What became of a file: a track, with the size of the file and its signature, or why it is none."""

    name: str
    result: Track | Rejected
    size: int = 0
    signature: bytes = b""


class Catalogue:
    """Files of a collection and what was found in them, one row each.

    Args:
        path: The SQLite file.

    Raises:
        InputError: if the file is no catalogue.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.database = sqlite3.connect(path)
            self.database.executescript(_TABLES)
            self.walk = (self._one("SELECT max(walk) FROM files") or 0) + 1
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path} is damaged ({error}); delete it and run the command again.") from error
        # What an earlier run joined may have changed since.
        self.database.execute("DELETE FROM known")
        self._committed = time.monotonic()

    def _one(self, query: str, *values: Any) -> Any:
        return self.database.execute(query, values).fetchone()[0]

    def _now_and_then(self) -> None:
        if time.monotonic() - self._committed > _EVERY:
            self.database.commit()
            self._committed = time.monotonic()

    def close(self) -> None:
        """Keep what was found."""
        self.database.commit()
        self.database.close()

    def meet(self, origin: Origin, stamp: str) -> None:
        """Note that a file is there; what was found in it stays only if its stamp is the same."""
        # Paths may hold bytes that are no text: ASCII JSON keeps them.
        self.database.execute(
            "INSERT INTO files (name, origin, stamp, walk) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET origin = excluded.origin, walk = excluded.walk, twin = NULL, "
            "result = iif(stamp = excluded.stamp, result, NULL), stamp = excluded.stamp",
            (origin.name, json.dumps(dataclasses.asdict(origin)), stamp, self.walk),
        )
        self._now_and_then()

    def forget_others(self) -> None:
        """Drop files that are no longer there."""
        self.database.execute("DELETE FROM files WHERE walk < ?", (self.walk,))
        self.database.commit()

    def count(self, condition: str = "1") -> int:
        """Number of files of which an SQL condition is true."""
        return int(self._one(f"SELECT count(*) FROM files WHERE {condition}"))

    def unread(self) -> Iterator[Origin]:
        """Files in which nothing was found yet; results may be put in meanwhile."""
        number = -1
        while rows := self.database.execute(
            "SELECT number, origin FROM files WHERE result IS NULL AND number > ? ORDER BY number LIMIT 500",
            (number,),
        ).fetchall():
            for _, origin in rows:
                yield Origin(**json.loads(origin))
            number = rows[-1][0]

    def put(self, found: Found) -> None:
        """Note what was found in a file."""
        track_id = found.result.track_id if isinstance(found.result, Track) else None
        self.database.execute(
            "UPDATE files SET result = ?, track_id = ?, bytes = ?, signature = ? WHERE name = ?",
            (found.result.to_json(), track_id, found.size, found.signature, found.name),
        )
        self._now_and_then()

    def tracks(self) -> Iterator[tuple[int, str, str, int, bytes]]:
        """Number, name, identity, bytes and signature of the tracks that are no twins."""
        yield from self.database.execute(
            "SELECT number, name, track_id, bytes, signature FROM files "
            "WHERE track_id IS NOT NULL AND twin IS NULL ORDER BY number"
        )

    def mark_copies(self) -> None:
        """Mark files of which the very bytes are there under an earlier name."""
        self.database.execute(
            "UPDATE files SET twin = 'the same file as ' || "
            "(SELECT min(name) FROM files AS first WHERE first.track_id = files.track_id) "
            "WHERE track_id IS NOT NULL AND "
            "name > (SELECT min(name) FROM files AS first WHERE first.track_id = files.track_id)"
        )
        self.database.commit()

    def describe(self, number: int) -> tuple[str, int, Track]:
        """Name, bytes and track of a file, by its number."""
        name, size, result = self.database.execute(
            "SELECT name, bytes, result FROM files WHERE number = ?", (number,)
        ).fetchone()
        return name, size, Track(**_tuples(json.loads(result)))

    def mark_twin(self, number: int, twin: str) -> None:
        """Mark a track as a copy of another one."""
        self.database.execute("UPDATE files SET twin = ? WHERE number = ?", (twin, number))

    def learn(self, key: str, fields: dict[str, Any]) -> None:
        """Keep metadata until tracks are listed; more of the same key is added to it."""
        self.database.execute(
            "INSERT INTO known (key, fields) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET fields = json_patch(fields, excluded.fields)",
            (key, json.dumps(fields)),
        )

    def known(self, *keys: str) -> dict[str, Any]:
        """Metadata of a file by the keys that it may go by; the later ones win."""
        found: dict[str, Any] = {}
        for key in keys:
            row = self.database.execute("SELECT fields FROM known WHERE key = ?", (key,)).fetchone()
            if row:
                found |= _tuples(json.loads(row[0]))
                self.database.execute("UPDATE known SET used = 1 WHERE key = ?", (key,))
        return found

    def strangers(self) -> tuple[int, str]:
        """How many keys of the metadata no file goes by, and the first of them."""
        number, first = self.database.execute(
            "SELECT count(*), min(key) FROM known WHERE used = 0"
        ).fetchone()
        return number, first

    def results(self) -> Iterator[tuple[str, Track | Rejected]]:
        """Name and result of every file, in the order of names."""
        rows = self.database.execute("SELECT name, track_id, twin, result FROM files ORDER BY name")
        for name, track_id, twin, result in rows:
            if twin is not None:
                yield name, Rejected(name, "duplicate", twin)
            elif track_id is not None:
                yield name, Track(**_tuples(json.loads(result)))
            else:
                yield name, Rejected(**json.loads(result))


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def catalogue_of(output: Path) -> Path:
    """Where the catalogue of a manifest lies."""
    return output.with_name(f"{os.path.splitext(output.name)[0]}.sqlite")
