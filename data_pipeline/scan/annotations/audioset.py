"""AudioSet (Gemmeke et al. 2017): a segments CSV, and its ``ontology.json`` beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.scan.annotations.table import delimiter_of, read_lines
from data_pipeline.scan.json_text import parse_json
from lightning_n2m.errors import InputError

_ONTOLOGIES = ("ontology.json", "audioset_ontology.json")
_GENRE = "Music genre"
_HEADER_LINES = 5


def recognises(head: list[list[str]]) -> bool:
    """Whether the first lines of a table are a segments list of AudioSet, as published or saved again."""
    return any(
        line[0].startswith("# YTID") or ("YTID" in _names(line) and "positive_labels" in _names(line))
        for line in head
        if line
    )


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Labels in words by YouTube identity; those below "Music genre" are genres.

    Raises:
        InputError: if the ontology is missing, or a line is damaged.
    """
    names, genres = _ontology(path)
    video_at, start_at, labels_at = 0, 1, 3
    for number, cells in enumerate(read_lines(path, delimiter_of(path)), start=1):
        header = _names(cells) if number <= _HEADER_LINES else []
        if {"YTID", "positive_labels"} <= set(header):
            video_at, labels_at = header.index("YTID"), header.index("positive_labels")
            start_at = header.index("start_seconds") if "start_seconds" in header else -1
            continue
        if not cells or cells[0].startswith("#"):
            continue
        try:
            video = cells[video_at].strip()
            start = float(cells[start_at]) if start_at >= 0 else 0.0
        except (IndexError, ValueError) as error:
            raise InputError(
                f"{path}, line {number}, is damaged ({error}); download AudioSet's list again."
            ) from error
        # The published labels are in quotes behind a space, which a CSV reader takes for a cell per label; a
        # table that was saved again has one cell. Both give the same text.
        text = ",".join(cells[labels_at:])
        labels = [label.strip().strip('"').strip() for label in text.split(",")]
        known = [label for label in labels if label in names]
        yield (
            video,
            {
                "genres": tuple(names[label] for label in known if label in genres),
                "tags": tuple(names[label] for label in known if label not in genres),
                "source": f"https://www.youtube.com/watch?v={video}&t={start:g}",
            },
        )


def _names(line: list[str]) -> list[str]:
    return [cell.strip().removeprefix("#").strip() for cell in line]


def _ontology(path: Path) -> tuple[dict[str, str], set[str]]:
    beside = next((path.with_name(name) for name in _ONTOLOGIES if path.with_name(name).is_file()), None)
    if beside is None:
        raise InputError(f"{path} gives labels as codes; put AudioSet's ontology.json beside it.")
    try:
        nodes = {node["id"]: node for node in parse_json(beside.read_bytes())}
        genres: set[str] = set()
        below = [node["id"] for node in nodes.values() if node["name"] == _GENRE]
        while below:
            children = [child for name in below for child in nodes[name]["child_ids"] if child not in genres]
            genres.update(children)
            below = list(dict.fromkeys(children))
        return {code: node["name"].lower() for code, node in nodes.items()}, genres
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{beside} is damaged ({error!r}); download AudioSet's ontology again.") from error
