"""Splits of the rendered pieces. The held-out pieces of the first edition are listed in splits.toml."""

from __future__ import annotations

import functools
import tomllib
from importlib import resources

from data_pipeline.starter_corpus.description import Truth, is_reserved
from lightning_n2m.data.schema import Split, split_of

_LISTED = 1600  # Pieces of seed 0 that splits.toml speaks of.


def split(truth: Truth) -> Split:
    """The split of a piece, by its seed and number.

    Other tracks get theirs from the bytes of their files, which for a piece may change with any library
    that renders it: what a model was trained on would then be among what is held out.

    Args:
        truth: Facts of the piece.
    """
    if is_reserved(truth):
        return "test"
    *edition, seed, number = truth.seed.split("/")
    if not edition and seed == "0" and int(number) < _LISTED:
        return _listed().get(int(number), "train")
    return split_of(f"piece {truth.seed}")


@functools.cache
def _listed() -> dict[int, Split]:
    text = resources.files(__package__).joinpath("splits.toml").read_text(encoding="utf-8")
    names: tuple[Split, ...] = ("validation", "test")
    return {number: name for name in names for number in tomllib.loads(text)[name]}
