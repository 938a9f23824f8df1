"""Files of a collection and their results, kept on disk: memory stays flat, and a kill loses little."""

from __future__ import annotations

import dataclasses
import json
import os
import sqlite3
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.scan.annotations.reader import Row, keys_of, normal_path
from data_pipeline.scan.file_scan import SourceFile
from data_pipeline.scan.probe import ScanResult
from data_pipeline.scan.track import LISTS, Rejected, Track
from lightning_n2m.data.schema import TrackMetadata
from lightning_n2m.errors import InputError

_LAYOUT = 2  # Of the tables below; a file of another layout is built again.
_TABLES = """
CREATE TABLE IF NOT EXISTS files (
    number INTEGER PRIMARY KEY, name TEXT UNIQUE, key TEXT, source TEXT, stamp TEXT, scan INTEGER,
    link INTEGER, result TEXT,
    track_id TEXT, bytes INTEGER, signature BLOB, notes TEXT, keeper INTEGER, duplicate TEXT);
CREATE INDEX IF NOT EXISTS by_track ON files (track_id);
CREATE INDEX IF NOT EXISTS by_key ON files (key);
CREATE INDEX IF NOT EXISTS by_keeper ON files (keeper);
CREATE TABLE IF NOT EXISTS metadata (
    number INTEGER, rank INTEGER, fields TEXT, PRIMARY KEY (number, rank)) WITHOUT ROWID;
CREATE TEMPORARY TABLE identities (key TEXT, number INTEGER, PRIMARY KEY (key, number)) WITHOUT ROWID;
"""
_COMMIT_SECONDS = 2.0  # Between two commits: the work that a kill may cost.
_METADATA = tuple(item.name for item in dataclasses.fields(TrackMetadata))
_MAX_ITEMS = 1000  # Texts in a list: rows and copies beyond add nothing.


class ScanDatabase:
    """Files of a collection and the results of reading them, one row each.

    Args:
        path: The SQLite file.

    Raises:
        InputError: if the file is not such a database.
    """

    def __init__(self, path: Path) -> None:
        try:
            self.database = sqlite3.connect(path)
            if self._value("PRAGMA user_version") != _LAYOUT:
                for table in ("files", "metadata", "known"):
                    self.database.execute(f"DROP TABLE IF EXISTS {table}")
            self.database.executescript(_TABLES)
            self.database.execute(f"PRAGMA user_version = {_LAYOUT}")
            self.scan = (self._value("SELECT max(scan) FROM files") or 0) + 1
            # The rows of an earlier run may have changed since.
            self.database.execute("DELETE FROM metadata")
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path} is damaged ({error}); delete it and run the command again.") from error
        self._committed = time.monotonic()

    def _value(self, query: str, *values: Any) -> Any:
        row = self.database.execute(query, values).fetchone()
        return row[0] if row else None

    def _commit_if_due(self) -> None:
        if time.monotonic() - self._committed > _COMMIT_SECONDS:
            self.database.commit()
            self._committed = time.monotonic()

    def close(self) -> None:
        """Commit and close."""
        self.database.commit()
        self.database.close()

    def add_file(self, file: SourceFile, stamp: str) -> None:
        """Record that a file exists; its earlier result stays only if its stamp is the same."""
        # Paths may hold bytes that are not text: ASCII JSON keeps them.
        self.database.execute(
            "INSERT INTO files (name, key, source, stamp, scan, link) VALUES (?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (name) DO UPDATE SET source = excluded.source, scan = excluded.scan, "
            "link = excluded.link, keeper = NULL, duplicate = NULL, "
            "result = iif(stamp = excluded.stamp, result, NULL), stamp = excluded.stamp",
            (
                file.name,
                unicodedata.normalize("NFC", file.name),
                json.dumps(dataclasses.asdict(file)),
                stamp,
                self.scan,
                file.is_link,
            ),
        )
        self._commit_if_due()

    def forget_missing(self) -> None:
        """Drop files that no longer exist."""
        self.database.execute("DELETE FROM files WHERE scan < ?", (self.scan,))
        self.database.commit()

    def count(self, condition: str = "1") -> int:
        """Number of files for which an SQL condition is true."""
        return int(self._value(f"SELECT count(*) FROM files WHERE {condition}"))

    def unread(self) -> Iterator[SourceFile]:
        """Files without a result; results may be added meanwhile."""
        number = -1
        while rows := self.database.execute(
            "SELECT number, source FROM files WHERE result IS NULL AND number > ? ORDER BY number LIMIT 500",
            (number,),
        ).fetchall():
            for _, source in rows:
                yield SourceFile(**json.loads(source))
            number = rows[-1][0]

    def add_result(self, found: ScanResult) -> None:
        """Record the result of reading a file."""
        track_id = found.result.track_id if isinstance(found.result, Track) else None
        self.database.execute(
            "UPDATE files SET result = ?, track_id = ?, bytes = ?, signature = ?, notes = ? WHERE name = ?",
            (
                found.result.to_json(),
                track_id,
                found.size,
                found.signature,
                json.dumps(found.notes) if found.notes else None,
                found.name,
            ),
        )
        self._commit_if_due()

    # Metadata of tables.

    def index_identities(self) -> None:
        """Prepare `add_metadata`: what each file may be called in a table besides its path."""
        for number, name in self.database.execute("SELECT number, name FROM files"):
            self.database.executemany(
                "INSERT OR IGNORE INTO identities VALUES (?, ?)", [(key, number) for key in keys_of(name)]
            )

    def add_metadata(self, row: Row, root: str) -> int:
        """Keep what a row says of the files that it names; rows of the same file are merged.

        Args:
            row: The row.
            root: Folder of the collection, or its URL.

        Returns:
            The number of these files.
        """
        rank, numbers = 0, self._identified(row.key)
        if row.is_path:
            key = normal_path(row.key, root)
            exact = self.database.execute("SELECT number FROM files WHERE key = ?", (key,)).fetchall()
            rank, numbers = (2, [number for (number,) in exact]) if exact else (1, self._similar(key))
        for number in numbers:
            old = self._value("SELECT fields FROM metadata WHERE number = ? AND rank = ?", number, rank)
            # Of two rows the later one wins; their lists are united in the order of the rows.
            later = {name: value for name, value in row.fields.items() if name not in (*LISTS, "truth")}
            fields = {**_merged(json.loads(old), row.fields), **later} if old else row.fields
            self.database.execute(
                "INSERT OR REPLACE INTO metadata VALUES (?, ?, ?)", (number, rank, json.dumps(fields))
            )
        self._commit_if_due()
        return len(numbers)

    def _identified(self, key: str) -> list[int]:
        key = unicodedata.normalize("NFC", key)
        rows = self.database.execute("SELECT number FROM identities WHERE key = ?", (key,))
        return [number for (number,) in rows]

    def _similar(self, key: str) -> list[int]:
        """Files of the stem of a path whose folders agree with it, unless several folders do.

        A table may be written for a parent folder, a part of the collection, or files of another encoding.
        """
        folders = PurePosixPath(key).parent.parts
        for identity in reversed(keys_of(key)):
            places: dict[tuple[str, str], list[int]] = {}
            for number in self._identified(identity):
                path = PurePosixPath(self._value("SELECT key FROM files WHERE number = ?", number))
                common = min(len(folders), len(path.parent.parts))
                if common == 0 or folders[-common:] == path.parent.parts[-common:]:
                    places.setdefault((str(path.parent), path.stem), []).append(number)
            if places:
                return next(iter(places.values())) if len(places) == 1 else []
        return []

    # Duplicates.

    def tracks(self) -> Iterator[tuple[int, bytes]]:
        """Number and signature of the tracks that are not duplicates."""
        yield from self.database.execute(
            "SELECT number, signature FROM files "
            "WHERE track_id IS NOT NULL AND keeper IS NULL ORDER BY number"
        )

    def mark_identical_files(self) -> None:
        """Mark files with the same bytes as an earlier one; a symbolic link comes after all other files."""
        first = (
            "SELECT {} FROM files AS first WHERE first.track_id = files.track_id "
            "ORDER BY first.link, first.name LIMIT 1"
        )
        self.database.execute(
            f"UPDATE files SET keeper = ({first.format('number')}), "
            f"duplicate = 'the same file as ' || ({first.format('name')}) "
            f"WHERE track_id IS NOT NULL AND number != ({first.format('number')})"
        )
        self.database.commit()

    def describe(self, number: int) -> tuple[str, int, Track]:
        """Name, bytes and track of a file, by its number."""
        name, size, result = self.database.execute(
            "SELECT name, bytes, result FROM files WHERE number = ?", (number,)
        ).fetchone()
        return name, size, Track(**_with_tuples(json.loads(result)))

    def mark_duplicate(self, number: int, keeper: int, reason: str) -> None:
        """Mark a track as a copy of another one."""
        self.database.execute(
            "UPDATE files SET keeper = ?, duplicate = ? WHERE number = ?", (keeper, reason, number)
        )

    # Results.

    def results(self) -> Iterator[tuple[str, Track | Rejected]]:
        """Name and result of every file, in the order of names.

        A track has the fields of its tags and sidecars, completed by those of its copies; what tables say
        of it and of its copies replaces these.
        """
        rows = self.database.execute(
            "SELECT number, name, track_id, duplicate, result FROM files ORDER BY name"
        )
        for number, name, track_id, duplicate, result in rows:
            if duplicate is not None:
                yield name, Rejected(name, "duplicate", duplicate)
            elif track_id is not None:
                own, tables = json.loads(result), self._metadata(number)
                for copy, copy_name, copy_result in self._copies(number):
                    values = json.loads(copy_result)
                    fields = {key: values[key] for key in _METADATA if key in values}
                    source = fields.pop("source")
                    # A source is a path within the collection unless a tag or sidecar says more.
                    if own["source"] == name and source != copy_name:
                        own["source"] = source
                    own, tables = _merged(own, fields), _merged(tables, self._metadata(copy))
                yield name, Track(**_with_tuples({**own, **tables}))
            else:
                yield name, Rejected(**json.loads(result))

    def _copies(self, number: int) -> Iterator[tuple[int, str, str]]:
        copies = self.database.execute(
            "SELECT number, name, result FROM files WHERE keeper = ? ORDER BY link, name", (number,)
        ).fetchall()
        for copy in copies:
            yield copy
            yield from self._copies(copy[0])

    def _metadata(self, number: int) -> dict[str, Any]:
        rows = self.database.execute("SELECT fields FROM metadata WHERE number = ? ORDER BY rank", (number,))
        fields: dict[str, Any] = {}
        for (values,) in rows:
            fields |= json.loads(values)
        return fields

    def notes(self) -> Counter[str]:
        """What was not used of tags and sidecars, by reason."""
        notes: Counter[str] = Counter()
        for (values,) in self.database.execute("SELECT notes FROM files WHERE notes IS NOT NULL"):
            notes.update(json.loads(values))
        return notes


def _merged(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Fields of two descriptions of one track: texts of the first win, lists and facts are united."""
    merged = dict(first)
    for key, value in second.items():
        own = merged.get(key)
        if key in LISTS:
            merged[key] = list(dict.fromkeys([*(own or ()), *value]))[:_MAX_ITEMS]
        elif key == "truth":
            merged[key] = {**value, **(own or {})}
        elif not own:
            merged[key] = value
    return merged


def _with_tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def database_path(output: Path) -> Path:
    """The database beside a manifest."""
    return output.with_name(f"{os.path.splitext(output.name)[0]}.sqlite")
