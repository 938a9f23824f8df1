"""Rows of a table, one by one: JSON lines, a JSON array, CSV, TSV or Parquet."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.scan.file_scan import is_regular
from data_pipeline.scan.json_text import MAX_BYTES, parse_json
from data_pipeline.scan.track import read_json_lines
from lightning_n2m.errors import InputError

REMEDY = "give --metadata a file of JSON lines, CSV or Parquet"
EXTRA = "cells beyond the last column"  # Name of the column that holds them.
_DELIMITED = (".csv", ".tsv")
_MAX_ARRAY = 1 << 28  # Bytes of a file that is one JSON array.
_MAX_EXPANSION = 100  # Of a Parquet file; more than that, and above a gigabyte, is an attack.


def is_delimited(path: Path) -> bool:
    """Whether a file is CSV or TSV by its ending."""
    return path.suffix.lower() in _DELIMITED


def check_readable(path: Path) -> None:
    """Refuse what cannot be a table.

    Raises:
        InputError: if it is missing, not a regular file, or a workbook or archive.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; {REMEDY}.")
    if not is_regular(path):
        raise InputError(f"{path} cannot be read (it is not a regular file); {REMEDY}.")
    try:
        with open(path, "rb") as file:
            head = file.read(8)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); {REMEDY}.") from error
    if head.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x1f\x8b")):
        raise InputError(f"{path} is a workbook or an archive; save its table as CSV (UTF-8), and {REMEDY}.")


def read_lines(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Cells of each line of a delimited file.

    Raises:
        InputError: if it cannot be read.
    """
    csv.field_size_limit(MAX_BYTES)
    try:
        with open(path, encoding=_encoding(path), newline="") as file:
            yield from csv.reader(_bounded(file, path), delimiter=delimiter)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read ({_reason(error)}); {REMEDY}.") from error


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File and line, and the columns by name, of each row.

    Cells beyond the last column are given as one list under the name `EXTRA`.

    Raises:
        InputError: if the file cannot be read, or is not a table.
    """
    check_readable(path)
    if path.suffix.lower() == ".parquet":
        yield from _read_parquet(path)
    elif is_delimited(path):
        lines = read_lines(path, delimiter_of(path))
        header = _unique([name.strip() for name in next(lines, [])])
        for number, cells in enumerate(lines, start=2):
            if not any(cells):
                continue
            row: dict[str, Any] = dict(zip(header, cells, strict=False))
            if extra := [cell for cell in cells[len(header) :] if cell.strip()]:
                row[EXTRA] = extra
            yield f"{path}, line {number},", row
    elif _is_json_document(path):
        yield from _read_json_document(path)
    else:
        for place, _, values in read_json_lines(path, REMEDY):
            yield place, _object(place, values)


def delimiter_of(path: Path) -> str:
    """Tab, comma or semicolon, whichever the first line has most of: some published .csv files have tabs."""
    try:
        with open(path, encoding=_encoding(path)) as file:
            first = file.readline(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({_reason(error)}); {REMEDY}.") from error
    return max(",\t;", key=first.count)


def _encoding(path: Path) -> str:
    with open(path, "rb") as file:
        head = file.read(4)
    return "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8 text; save it as UTF-8"
    return getattr(error, "strerror", None) or str(error).splitlines()[0]


def _bounded(file: io.TextIOBase, path: Path) -> Iterator[str]:
    while line := file.readline(MAX_BYTES + 1):
        if len(line) > MAX_BYTES:
            raise InputError(f"{path} has a line longer than {MAX_BYTES} characters; {REMEDY}.")
        yield line


def _unique(header: list[str]) -> list[str]:
    """Column names, of which a repeated one gets a number."""
    seen: dict[str, int] = {}
    names = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return names


def _object(place: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f'{place} is not a JSON object; write one like {{"path": "...", "title": "..."}}.')
    return values


def _is_json_document(path: Path) -> bool:
    """Whether a file is one JSON value over several lines, or an array."""
    if path.suffix.lower() != ".json":
        return False
    with open(path, "rb") as file:
        first = file.readline(MAX_BYTES).strip().removeprefix(codecs.BOM_UTF8)
    if first.startswith(b"["):
        return True
    try:
        value = parse_json(first)
    except ValueError:
        return True
    # One object in one line is a line, unless it maps paths to objects.
    return isinstance(value, dict) and bool(value) and all(isinstance(item, dict) for item in value.values())


def _read_json_document(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        with open(path, "rb") as file:
            value = parse_json(file.read(_MAX_ARRAY + 1), _MAX_ARRAY)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON ({_reason(error)}); {REMEDY}.") from error
    if isinstance(value, dict) and value and all(isinstance(item, dict) for item in value.values()):
        value = [{"path": name, **item} for name, item in value.items()]
    elif isinstance(value, dict):
        value = [value]
    if not isinstance(value, list):
        raise InputError(f"{path} is neither a JSON array nor an object; {REMEDY}.")
    for number, item in enumerate(value, start=1):
        place = f"{path}, item {number},"
        yield place, _object(place, item)


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        # Text stays a dictionary: a short one may stand for gigabytes of repeated text.
        metadata = pyarrow.parquet.read_metadata(path)
        texts = [
            column.path
            for column in (metadata.schema.column(index) for index in range(metadata.num_columns))
            if column.physical_type == "BYTE_ARRAY"
        ]
        groups = (metadata.row_group(index) for index in range(metadata.num_row_groups))
        expanded = sum(group.total_byte_size for group in groups)
        if expanded > max(1 << 30, _MAX_EXPANSION * path.stat().st_size):
            raise InputError(f"{path} expands to {expanded} bytes; {REMEDY}.")
        file = pyarrow.parquet.ParquetFile(path, read_dictionary=texts)
        number = 0
        for batch in file.iter_batches(1000):
            for column in batch.columns:
                _check_cells(column, path)
            for values in batch.to_pylist():
                number += 1
                yield f"{path}, row {number},", values
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise InputError(f"{path} cannot be read ({_reason(error)}); {REMEDY}.") from error


def _check_cells(column: Any, path: Path) -> None:
    """Refuse texts so long that a thousand rows of them would not fit in memory."""
    import pyarrow
    import pyarrow.compute

    while pyarrow.types.is_list(column.type) or pyarrow.types.is_large_list(column.type):
        column = column.values
    texts = column.dictionary if pyarrow.types.is_dictionary(column.type) else column
    if pyarrow.types.is_string(texts.type) or pyarrow.types.is_binary(texts.type):
        longest = pyarrow.compute.max(pyarrow.compute.binary_length(texts)).as_py() or 0
        if longest > MAX_BYTES // 16:
            raise InputError(f"{path} holds a text of {longest} bytes in one cell; {REMEDY}.")
