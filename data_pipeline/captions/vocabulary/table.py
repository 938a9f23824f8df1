"""The vocabulary on disk: a Parquet table of captions and their origin."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lightning_n2m.errors import InputError
from lightning_n2m.storage import write_atomic

Name = Literal["lm-lf", "rater-lf", "rater-sf"]
# In the order of section 3.6 of the paper; captions of the first two are sentences, of the third tags.
NAMES: tuple[Name, ...] = ("lm-lf", "rater-lf", "rater-sf")
# Bounds on a table; the paper's largest vocabulary has 4 million captions.
MOST_CAPTIONS, MOST_BYTES = 50_000_000, 20_000
_COLUMNS, _BATCH_ROWS = ("text", "vocabulary"), 65_536


@dataclass(frozen=True)
class Caption:
    """A candidate caption.

    Args:
        text: The sentence or tag.
        vocabulary: ``lm-lf`` (long form, by a language model), ``rater-lf`` or ``rater-sf`` (by people).
        origin: Its source: a song, a row of MusicCaps, the name of a list.
    """

    text: str
    vocabulary: Name
    origin: str

    @property
    def identity(self) -> str:
        """The same for captions that differ in case, spaces or the final stop only."""
        return " ".join(self.text.casefold().split()).rstrip(".")


def unique(captions: Iterable[Caption]) -> list[Caption]:
    """Captions in their order; of equal ones of a vocabulary only the first."""
    first: dict[tuple[str, str], Caption] = {}
    for item in captions:
        first.setdefault((item.vocabulary, item.identity), item)
    return list(first.values())


def write_table(path: Path, captions: Sequence[Caption]) -> None:
    """Write a vocabulary atomically; equal captions give equal bytes."""
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
        """16 hexadecimal digits of a hash of all captions in their order."""
        digest = hashlib.sha256()
        for text in self.texts:
            digest.update(text.encode() + b"\0")
        return digest.hexdigest()[:16]


def read_texts(path: Path) -> list[Texts]:
    """Read a vocabulary file: its vocabularies that hold any caption, in the order of `NAMES`.

    The file may come from a stranger. A small Parquet file can expand to any size, so the number of rows and
    the lengths of captions are checked before they are expanded.

    Raises:
        InputError: if the file is missing, no such table, empty, or too large.
    """
    import pyarrow
    import pyarrow.parquet

    remedy = "make it with 'python -m data_pipeline vocabulary'"
    texts: dict[str, list[str]] = {name: [] for name in NAMES}
    rows = 0
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"The vocabulary {path} is no regular file; {remedy}.")
        # Repeated captions stay references to one copy until their lengths have been checked.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=list(_COLUMNS)) as file:
            if not all(_is_text(file.schema_arrow, name) for name in _COLUMNS):
                raise InputError(f"The vocabulary {path} lacks the columns text and vocabulary; {remedy}.")
            for batch in file.iter_batches(_BATCH_ROWS, columns=list(_COLUMNS)):
                rows += batch.num_rows
                if rows > MOST_CAPTIONS:
                    raise InputError(f"The vocabulary {path} has more than {MOST_CAPTIONS} rows; {remedy}.")
                for text, name in zip(*(_expand(batch[column]) for column in _COLUMNS), strict=True):
                    if name not in texts or not text:
                        raise InputError(
                            f"The vocabulary {path} holds {str(text)[:60]!r} of {str(name)[:60]!r}; {remedy}."
                        )
                    texts[name].append(text)
    except (OSError, ValueError, KeyError, TypeError, MemoryError, pyarrow.ArrowException) as error:
        reason = getattr(error, "strerror", None) or "not a Parquet table of captions"
        raise InputError(f"The vocabulary {path} cannot be read ({reason}); {remedy}.") from error
    kept = [Texts(name, tuple(texts[name])) for name in NAMES if texts[name]]
    if not kept:
        raise InputError(f"The vocabulary {path} holds no captions; {remedy}.")
    return kept


def _is_text(schema: Any, name: str) -> bool:
    """Whether a table has a column of texts."""
    import pyarrow

    if name not in schema.names:
        return False
    kind = schema.field(name).type
    value = kind.value_type if pyarrow.types.is_dictionary(kind) else kind
    return bool(pyarrow.types.is_string(value) or pyarrow.types.is_large_string(value))


def _expand(column: Any) -> list[str | None]:
    """A column as a list, once its longest text has been checked.

    Raises:
        ValueError: if a text is longer than a caption can be.
    """
    import pyarrow
    import pyarrow.compute

    distinct = column.dictionary if pyarrow.types.is_dictionary(column.type) else column
    longest = pyarrow.compute.max(pyarrow.compute.binary_length(distinct)).as_py() or 0
    if longest > MOST_BYTES:
        raise ValueError("a caption is too long")
    return column.to_pylist()  # type: ignore[no-any-return]
