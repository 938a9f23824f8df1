"""MusicCaps (Agostinelli et al. 2023): ``musiccaps-public.csv``, captions and aspects of YouTube clips."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.scan.annotations.table import read_rows
from lightning_n2m.errors import InputError


def recognises(head: list[list[str]]) -> bool:
    """Whether the first lines of a table are MusicCaps'."""
    return {"ytid", "start_s", "aspect_list", "caption"} <= set(head[0])


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Caption and aspects by YouTube identity."""
    for place, row in read_rows(path):
        try:
            aspects = [str(aspect) for aspect in ast.literal_eval(row["aspect_list"])]
            yield (
                row["ytid"],
                {
                    "descriptions": (row["caption"],),
                    "tags": tuple(aspects),
                    "source": f"https://www.youtube.com/watch?v={row['ytid']}&t={row['start_s']}",
                },
            )
        except (KeyError, ValueError, SyntaxError, TypeError) as error:
            raise InputError(f"{place} is damaged ({error}); download MusicCaps again.") from error
