"""Vocabulary tables are unique, reproducible and checked."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest

from data_pipeline.captions.vocabulary.table import Caption, read_texts, unique, write_table
from lightning_n2m.errors import InputError


def test_equal_captions_of_two_vocabularies_both_stay() -> None:
    captions = [
        Caption("Slow.", "rater-lf", "a"),
        Caption("slow", "rater-sf", "b"),
        Caption("Slow", "rater-sf", "c"),
    ]
    assert [item.origin for item in unique(captions)] == ["a", "b"]


def test_a_table_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    captions = [Caption(f"a {i}", "rater-sf", "x") for i in range(50)]
    for name in ("a", "b"):
        write_table(tmp_path / name, captions)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [part.fingerprint for part in read_texts(tmp_path / "a")] != [
        part.fingerprint for part in read_texts(_written(tmp_path / "c", captions[::-1]))
    ]


def _written(path: Path, captions: list[Caption]) -> Path:
    write_table(path, captions)
    return path


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.parquet").write_text("text")
    for path in (tmp_path / "v.parquet", tmp_path / "nowhere.parquet", tmp_path):
        with pytest.raises(InputError, match=path.name):
            read_texts(path)


TABLES = {
    "a number": {"text": [1], "vocabulary": ["lm-lf"]},
    "bytes": {"text": [b"\xff"], "vocabulary": ["lm-lf"]},
    "null": {"text": [None], "vocabulary": ["lm-lf"]},
    "a list": {"text": [["a"]], "vocabulary": ["lm-lf"]},
    "another name": {"text": ["a"], "vocabulary": ["lm-\x1b"]},
    "one column": {"text": ["a"]},
    "no rows": {"text": [], "vocabulary": []},
    "long": {"text": ["a" * 30_000], "vocabulary": ["lm-lf"]},
}


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES.keys())
def test_a_table_of_another_shape_is_one_line(tmp_path: Path, columns: dict) -> None:
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "v.parquet")
    with pytest.raises(InputError, match=r"v\.parquet") as error:
        read_texts(tmp_path / "v.parquet")
    assert str(error.value).isprintable()


def test_a_table_that_expands_beyond_memory_is_refused(tmp_path: Path) -> None:
    """400 MB of one caption in a file of some kilobytes, read within 100 MB."""
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 4000, pyarrow.int32()), ["a" * 100_000])
    names = pyarrow.array(["lm-lf"] * 4000)
    path = tmp_path / "v.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"text": texts, "vocabulary": names}), path, compression="zstd")
    assert path.stat().st_size < 50_000
    before = pyarrow.default_memory_pool().max_memory()
    with pytest.raises(InputError, match="cannot be read"):
        read_texts(path)
    assert pyarrow.default_memory_pool().max_memory() < before + 100_000_000
