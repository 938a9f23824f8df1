"""Rows of a table, one by one: JSON lines, CSV, TSV or Parquet."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.scan.track import read_json_lines
from lightning_n2m.errors import InputError

REMEDY = "give --metadata a file of JSON lines, CSV or Parquet"


def read_lines(path: Path, delimiter: str) -> Iterator[list[str]]:
    """Cells of each line of a delimited file.

    Raises:
        InputError: if it cannot be read.
    """
    csv.field_size_limit(sys.maxsize)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from csv.reader(file, delimiter=delimiter)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"{path} cannot be read ({reason}); {REMEDY}.") from error


def read_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """File and line, and the columns by name, of each row.

    Raises:
        InputError: if the file cannot be read, or holds no table.
    """
    ending = path.suffix.lower()
    if ending == ".parquet":
        yield from _read_parquet(path)
    elif ending in (".csv", ".tsv"):
        lines = read_lines(path, delimiter_of(path))
        header = next(lines, [])
        for number, cells in enumerate(lines, start=2):
            if cells:
                yield f"{path}, line {number},", dict(zip(header, cells, strict=False))
    else:
        for place, _, values in read_json_lines(path, REMEDY):
            if not isinstance(values, dict):
                raise InputError(
                    f'{place} is not a JSON object; write one like {{"path": "...", "title": "..."}}.'
                )
            yield place, values


def delimiter_of(path: Path) -> str:
    """Tab or comma, whichever the first line holds more of: some published .csv files hold tabs."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            first = file.readline(1 << 20)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise InputError(f"{path} cannot be read ({reason}); {REMEDY}.") from error
    return "\t" if first.count("\t") > first.count(",") else ","


def _read_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(path)
        number = 0
        for batch in file.iter_batches(1000):
            for values in batch.to_pylist():
                number += 1
                yield f"{path}, row {number},", values
    except (OSError, pyarrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise InputError(f"{path} cannot be read ({reason}); {REMEDY}.") from error
