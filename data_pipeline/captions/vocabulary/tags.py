"""Short captions from lists of tags: those that come with the tools, and the user's own."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

from data_pipeline.captions.vocabulary.table import Caption, unique
from lightning_n2m.errors import InputError
from lightning_n2m.storage import in_package

_MOODS = """
angry bright calm cheerful dark dramatic dreamy driving energetic fast gentle happy intense joyful lively
melancholic moderate mournful mysterious nostalgic peaceful playful relaxed restless romantic sad slow solemn
soft tender tense triumphant upbeat warm wistful
"""


def _instruments() -> list[str]:
    from data_pipeline.starter_corpus.instruments import NAMES

    return [*NAMES, "drums"]


def _styles() -> list[str]:
    from data_pipeline.starter_corpus.styles import BANDS, CHAMBER

    return [style.genre for style in (*BANDS, *CHAMBER)]


def _moods() -> list[str]:
    return _MOODS.split()


def _musicnn(name: str) -> list[str]:
    # The package's own tagger would ask for TensorFlow; the file of the lists stands alone.
    try:
        lists = runpy.run_path(str(in_package("package:musicnn/configuration.py")))
    except (ImportError, FileNotFoundError) as error:
        raise InputError(
            "The tag list of musicnn needs its package; run 'pip install --no-deps musicnn' or leave it out."
        ) from error
    return [tag.lower() for tag in lists[f"{name}_LABELS"]]


# By the names that --tags takes. The tag lists of two public sets are MagnaTagATune's and the Million Song
# Dataset's 50 commonest, as the tagger musicnn carries them.
LISTS: dict[str, Callable[[], list[str]]] = {
    "general-midi": _instruments,
    "styles": _styles,
    "moods": _moods,
    "mtt": lambda: _musicnn("MTT"),
    "msd": lambda: _musicnn("MSD"),
}


def read_tags(names: list[str]) -> list[Caption]:
    """Captions of named lists and of text files that hold a tag a line.

    Raises:
        InputError: if a name is neither a list nor a readable file.
    """
    found = []
    for name in names:
        if name in LISTS:
            tags = LISTS[name]()
        else:
            try:
                tags = Path(name).read_text(encoding="utf-8").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(
                    f"--tags {name} is neither a text file nor one of {', '.join(LISTS)}; give one of these."
                ) from error
        found += [Caption(tag.strip(), "rater-sf", Path(name).stem) for tag in tags if tag.strip()]
    return unique(found)
