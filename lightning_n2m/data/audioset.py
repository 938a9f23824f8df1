"""The 130 AudioSet labels that the paper counts as music (appendix D)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

MUSIC = "/m/04rlf"  # the label "Music" itself, which appendix D does not list
_LABELS = Path(__file__).with_name("audioset_music_labels.txt")


@cache
def music_labels() -> dict[str, str]:
    """Names of the labels by their identifiers in AudioSet's ontology (Gemmeke et al. 2017, CC BY-SA 4.0)."""
    rows = (line.split("\t") for line in _LABELS.read_text(encoding="utf-8").splitlines() if line)
    return {identifier: name for identifier, name in rows}


def has_music_label(names: Iterable[str]) -> bool:
    """Whether any of the label names is one of appendix D, in any case."""
    listed = {name.lower() for name in music_labels().values()}
    return any(name.lower() in listed for name in names)
