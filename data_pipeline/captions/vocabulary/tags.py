"""Short captions from lists of tags: built-in ones, and text files of the user."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

from data_pipeline.captions.vocabulary.table import Caption, unique
from data_pipeline.captions.vocabulary.text_file import read_text
from lightning_n2m.errors import InputError
from lightning_n2m.storage import in_package

_MOODS = """
angry bright calm cheerful dark dramatic dreamy driving energetic fast gentle happy intense joyful lively
melancholic moderate mournful mysterious nostalgic peaceful playful relaxed restless romantic sad slow solemn
soft tender tense triumphant upbeat warm wistful
"""


def _instruments() -> list[str]:
    from lightning_n2m.data.instruments import NAMES

    return [*NAMES, "drums"]


def _styles() -> list[str]:
    from data_pipeline.starter_corpus.styles import BANDS, CHAMBER

    return [style.genre for style in (*BANDS, *CHAMBER)]


def _moods() -> list[str]:
    return _MOODS.split()


def _musicnn(name: str) -> list[str]:
    """A list of the package musicnn, read from its source: importing the package would need TensorFlow."""
    try:
        source = in_package("package:musicnn/configuration.py").read_text(encoding="utf-8")
    except (ImportError, OSError) as error:
        raise InputError(
            "The tag list of musicnn needs its package; run 'pip install --no-deps musicnn' or remove it "
            "from --tags."
        ) from error
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == f"{name}_LABELS":
            return [tag.lower() for tag in ast.literal_eval(statement.value)]
    raise InputError(f"The installed package musicnn has no list {name}_LABELS; remove it from --tags.")


# By the names that --tags takes. "mtt" and "msd" are the 50 most common tags of MagnaTagATune and the Million
# Song Dataset, from the tagger musicnn.
LISTS: dict[str, Callable[[], list[str]]] = {
    "general-midi": _instruments,
    "styles": _styles,
    "moods": _moods,
    "mtt": lambda: _musicnn("MTT"),
    "msd": lambda: _musicnn("MSD"),
}


def read_tags(names: list[str]) -> list[Caption]:
    """Captions of named lists and of text files with one tag per line.

    Raises:
        InputError: if a name is neither a list nor a readable file.
    """
    captions = []
    for name in names:
        if name in LISTS:
            tags = LISTS[name]()
        else:
            tags = read_text(Path(name), f"give --tags text files, or any of {', '.join(LISTS)}").splitlines()
        captions += [Caption(tag.strip(), "rater-sf", Path(name).stem) for tag in tags if tag.strip()]
    return unique(captions)
