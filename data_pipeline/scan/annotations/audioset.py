"""AudioSet (Gemmeke et al. 2017): a segments CSV, and its ``ontology.json`` beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from data_pipeline.scan.annotations.table import read_lines
from lightning_n2m.errors import InputError

_ONTOLOGIES = ("ontology.json", "audioset_ontology.json")
_GENRE = "Music genre"


def recognises(head: list[list[str]]) -> bool:
    """Whether the first lines of a table are a segments list of AudioSet."""
    return any(line and line[0].startswith("# YTID") for line in head)


def read(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Labels in words by YouTube identity; those below "Music genre" are genres.

    Raises:
        InputError: if the ontology is missing.
    """
    names, genres = _ontology(path)
    for cells in read_lines(path, ","):
        if not cells or cells[0].startswith("#"):
            continue
        video, start = cells[0].strip(), cells[1].strip()
        # Labels stand in quotes behind a space, which a CSV reader takes for four cells.
        labels = [cell.strip().strip('"') for cell in cells[3:]]
        known = [label for label in labels if label in names]
        yield (
            video,
            {
                "genres": tuple(names[label] for label in known if label in genres),
                "tags": tuple(names[label] for label in known if label not in genres),
                "source": f"https://www.youtube.com/watch?v={video}&t={float(start):g}",
            },
        )


def _ontology(path: Path) -> tuple[dict[str, str], set[str]]:
    beside = next((path.with_name(name) for name in _ONTOLOGIES if path.with_name(name).is_file()), None)
    if beside is None:
        raise InputError(f"{path} gives labels as codes; put AudioSet's ontology.json beside it.")
    try:
        nodes = {node["id"]: node for node in json.loads(beside.read_text(encoding="utf-8"))}
        genres: set[str] = set()
        below = [node["id"] for node in nodes.values() if node["name"] == _GENRE]
        while below:
            children = [child for name in below for child in nodes[name]["child_ids"] if child not in genres]
            genres.update(children)
            below = children
        return {code: node["name"].lower() for code, node in nodes.items()}, genres
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{beside} is damaged ({error!r}); download AudioSet's ontology again.") from error
