"""The vocabulary on disk: a Parquet table of captions and their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning_n2m.errors import InputError
from lightning_n2m.storage import write_atomic

Name = Literal["lm-lf", "rater-lf", "rater-sf"]
# In the order of section 3.6 of the paper; captions of the first two are sentences, of the third tags.
NAMES: tuple[Name, ...] = ("lm-lf", "rater-lf", "rater-sf")


@dataclass(frozen=True)
class Caption:
    """A candidate caption.

    Args:
        text: The sentence or tag.
        vocabulary: ``lm-lf`` (long form, by a language model), ``rater-lf`` or ``rater-sf`` (by people).
        origin: What it was made of: a song, a row of MusicCaps, the name of a list.
    """

    text: str
    vocabulary: Name
    origin: str

    @property
    def identity(self) -> str:
        """What two captions share that differ in spelling only: case, spaces, the final stop."""
        return " ".join(self.text.casefold().split()).rstrip(".")


def unique(captions: Iterable[Caption]) -> list[Caption]:
    """Captions without repetitions inside a vocabulary; the first of equals stays, the order too."""
    found: dict[tuple[str, str], Caption] = {}
    for item in captions:
        found.setdefault((item.vocabulary, item.identity), item)
    return list(found.values())


def write_table(path: Path, captions: Sequence[Caption]) -> None:
    """Write a vocabulary; equal captions give equal bytes, and the file is whole or not there."""
    import pyarrow
    import pyarrow.parquet

    columns = {name: [getattr(item, name) for item in captions] for name in ("text", "vocabulary", "origin")}
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns), sink, compression="zstd")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, sink.getvalue().to_pybytes())


@dataclass(frozen=True)
class Texts:
    """The captions of one vocabulary, in the order of the table, and a fingerprint of them."""

    vocabulary: Name
    texts: tuple[str, ...]

    @property
    def fingerprint(self) -> str:
        """16 hexadecimal digits that another wording or order would change."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()[:16]


def read_texts(path: Path) -> list[Texts]:
    """Read a vocabulary file: its vocabularies that hold any caption, in the order of `NAMES`.

    Raises:
        InputError: if the file is missing, no such table, or empty.
    """
    import pyarrow
    import pyarrow.parquet

    remedy = "make it with 'python -m data_pipeline vocabulary'"
    try:
        table = pyarrow.parquet.read_table(path, columns=["text", "vocabulary"])
    except (OSError, pyarrow.ArrowInvalid, KeyError) as error:
        reason = getattr(error, "strerror", None) or "not a Parquet table of captions"
        raise InputError(f"The vocabulary {path} cannot be read ({reason}); {remedy}.") from error
    if set(table.column_names) != {"text", "vocabulary"}:
        raise InputError(f"The vocabulary {path} lacks the columns text and vocabulary; {remedy}.")
    found: dict[Name, list[str]] = {name: [] for name in NAMES}
    for text, name in zip(table["text"].to_pylist(), table["vocabulary"].to_pylist(), strict=True):
        if name not in found or not isinstance(text, str):
            raise InputError(f"The vocabulary {path} holds {text!r} of {name!r}; {remedy}.")
        found[name].append(text)
    kept = [Texts(name, tuple(texts)) for name, texts in found.items() if texts]
    if not kept:
        raise InputError(f"The vocabulary {path} holds no captions; {remedy}.")
    return kept
