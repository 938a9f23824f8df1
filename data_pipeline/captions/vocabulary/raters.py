"""MusicCaps (Agostinelli et al. 2023, CC BY-SA 4.0): captions and aspects that raters wrote.

The data set is not part of this project: give the path of your copy of its CSV file.
"""

from __future__ import annotations

import ast
import csv
import io
import re
from pathlib import Path

from data_pipeline.captions.vocabulary.table import Caption, unique
from data_pipeline.captions.vocabulary.text_file import read_text
from lightning_n2m.errors import InputError

_COLUMNS = ("ytid", "caption", "aspect_list")
_SPLIT = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
_MOST_CHARACTERS = 20_000  # Of an aspect list, which is a Python literal.


def read_raters(path: Path) -> list[Caption]:
    """Rater-LF, its captions split into sentences, and Rater-SF, its aspects (section 3.6.2).

    Raises:
        InputError: if the file is missing or not the CSV of MusicCaps.
    """
    remedy = "give --musiccaps the file musiccaps-public.csv as its authors published it"
    text = read_text(path, remedy)
    captions: list[Caption] = []
    try:
        rows = csv.DictReader(io.StringIO(text, newline=""))
        if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
            raise InputError(f"{path} has no column {missing[0]}; {remedy}.")
        for row in rows:
            captions += _of_row(row)
    except (csv.Error, ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise InputError(f"{path} cannot be read (not such a file); {remedy}.") from error
    return unique(captions)


def _of_row(row: dict[str, str | None]) -> list[Caption]:
    ytid, caption, aspect_list = (row[name] for name in _COLUMNS)
    if caption is None or aspect_list is None or len(aspect_list) > _MOST_CHARACTERS:
        raise ValueError("a row is incomplete or too long")
    parsed = ast.literal_eval(aspect_list)
    if not isinstance(parsed, list) or not all(isinstance(aspect, str) for aspect in parsed):
        raise ValueError("aspect_list is no list of texts")
    origin = f"MusicCaps {ytid}"
    sentences = [" ".join(part.split()) for part in _SPLIT.split(caption.strip())]
    aspects = [" ".join(aspect.split()) for aspect in parsed]
    return [Caption(text, "rater-lf", origin) for text in sentences if text] + [
        Caption(text, "rater-sf", origin) for text in aspects if text
    ]
