"""MusicCaps (Agostinelli et al. 2023, CC BY-SA 4.0): captions and aspects that raters wrote.

The data set is not part of this project: give the path of your copy of its CSV file.
"""

from __future__ import annotations

import ast
import csv
import re
from pathlib import Path

from data_pipeline.captions.vocabulary.table import Caption, unique
from lightning_n2m.errors import InputError

_COLUMNS = ("ytid", "caption", "aspect_list")
_SPLIT = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")


def read_raters(path: Path) -> list[Caption]:
    """Rater-LF, its captions split into sentences, and Rater-SF, its aspects (section 3.6.2).

    Raises:
        InputError: if the file is missing or not the CSV of MusicCaps.
    """
    remedy = "give --musiccaps the file musiccaps-public.csv as its authors published it"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            if missing := [name for name in _COLUMNS if name not in (rows.fieldnames or ())]:
                raise InputError(f"{path} has no column {missing[0]}; {remedy}.")
            found = [caption for row in rows for caption in _of_row(row)]
    except (OSError, UnicodeDecodeError, csv.Error, ValueError, SyntaxError) as error:
        reason = getattr(error, "strerror", None) or "not such a file"
        raise InputError(f"{path} cannot be read ({reason}); {remedy}.") from error
    return unique(found)


def _of_row(row: dict[str, str]) -> list[Caption]:
    origin = f"MusicCaps {row['ytid']}"
    sentences = [" ".join(part.split()) for part in _SPLIT.split(row["caption"].strip())]
    aspects = [" ".join(str(part).split()) for part in ast.literal_eval(row["aspect_list"])]
    return [Caption(text, "rater-lf", origin) for text in sentences if text] + [
        Caption(text, "rater-sf", origin) for text in aspects if text
    ]
