"""Values as people, pandas and taggers write them become the same metadata."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from data_pipeline.__main__ import main
from data_pipeline.scan.metadata_fields import Ignored, clean_text, parse_metadata, split_list, year_of
from lightning_n2m.errors import InputError


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("caption", "descriptions"),
        ("Text", "descriptions"),
        (" Description ", "descriptions"),
        ("main caption", "descriptions"),
        ("caption_2", "descriptions"),
        ("genre", "genres"),
        ("Mood", "tags"),
        ("instruments", "tags"),
        ("\ufefftitle", "title"),
        ("Artist Name", "artist"),
        ("license", "licence"),
    ],
)
def test_columns_are_recognised_by_their_usual_names(column: str, field: str) -> None:
    wanted = ("sad",) if field in ("descriptions", "genres", "tags") else "sad"
    assert parse_metadata({column: "sad"}, "x") == {field: wanted}


def test_unknown_columns_and_useless_values_are_counted() -> None:
    ignored = Ignored()
    for year in ("1999", "unknown", float("nan")):
        parse_metadata({"loudness": -9.5, "year": year, "key": None}, "x", ignored)
    parse_metadata({"title": "M\ufffdller"}, "x", ignored)
    assert ignored.columns == {"loudness": 3}
    assert ignored.values == {"year: no year in it": 1, "title: not readable in its encoding": 1}


@pytest.mark.parametrize("value", [None, float("nan"), "", "nan", "NaN", "<NA>", "None", "null", [], "N/A"])
def test_missing_values_are_missing(value: Any) -> None:
    for column in ("title", "genres", "year", "caption", "truth", "split"):
        assert parse_metadata({column: value}, "x") == {}


@pytest.mark.parametrize(
    "text",
    [
        "['rock', 'folk']",
        '["rock", "folk"]',
        "('rock', 'folk')",
        "['rock' 'folk']",
        "['rock'\n 'folk']",
        "[rock, folk]",
        *("rock; folk", "rock, folk", "Rock / Folk", "rock|folk", "rock\0folk"),
    ],
)
def test_lists_are_read_however_they_are_written(text: str) -> None:
    assert parse_metadata({"genres": text}, "x") == {"genres": ("rock", "folk")}


def test_lists_of_a_table_and_of_a_tag_are_split_alike() -> None:
    for value in ("Rock/Folk;Blues", ["Rock/Folk", "Blues"], ("Rock;Folk", "Blues")):
        assert parse_metadata({"genre": value}, "x") == {"genres": ("rock", "folk", "blues")}


def test_sentences_and_metres_are_not_split() -> None:
    sentence = "A slow song; it has a piano, and/or strings."
    assert parse_metadata({"caption": sentence}, "x") == {"descriptions": (sentence,)}
    assert parse_metadata({"caption": "[Verse] a [Chorus]"}, "x") == {"descriptions": ("[Verse] a [Chorus]",)}
    assert parse_metadata({"tags": "3/4, calm"}, "x") == {"tags": ("3/4", "calm")}


@pytest.mark.parametrize(
    ("value", "year"),
    [
        (1999, "1999"),
        (1999.0, "1999"),
        ("1999.0", "1999"),
        ("1999-05-01", "1999"),
        ("19990501", "1999"),
        ("Oct 12, 2003", "2003"),
        (datetime.datetime(1999, 5, 1), "1999"),
        ("0000", ""),
        ("þÿ", ""),
        ("12345", ""),
    ],
)
def test_years_are_found_in_dates(value: Any, year: str) -> None:
    assert year_of(value) == year


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\ufffe" + "Night Train".encode("utf-16-be").decode("utf-16-le"), "Night Train"),
        ("JÃ¼rgen MÃ¼ller".encode("latin-1").decode("latin-1"), "JÃ¼rgen MÃ¼ller"),
        ("J\xc3\xb6rg \xe2\x80\x93 x", "Jörg – x"),
        ("Don\x92t stop \x96 live", "Don’t stop – live"),
        ("サンプル".encode("cp932").decode("latin-1"), ""),
        ("bad \ufffd letter", ""),
        ("bell\x07 and esc\x1b[1m", "bell  and esc [1m"),
        ("two\nlines", "two\nlines"),
    ],
)
def test_texts_of_another_encoding_are_repaired_or_dropped(text: str, clean: str) -> None:
    assert clean_text(text) == clean


def test_a_list_bomb_stays_text() -> None:
    for text in ("[" * 100_000 + "]" * 100_000, "(" * 3000 + ")" * 3000, "[" + "1," * 10_000_000 + "]"):
        assert len(split_list(text[:200_000], "descriptions")) == 1


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("title", {"a": 1}, "give text"),
        ("title", True, "give text"),
        ("genres", 5, "list of texts"),
        ("genres", [1, 2], "list of texts"),
        ("truth", "{", "not JSON"),
        ("truth", {"a": "x" * 100_000}, "short JSON object"),
        ("split", "all", "give one of train"),
    ],
)
def test_values_of_the_wrong_kind_are_refused(column: str, value: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason) as error:
        parse_metadata({column: value}, "t.csv, line 3,")
    assert str(error.value).startswith(f"t.csv, line 3, '{column}'")


def test_the_password_of_an_address_is_removed() -> None:
    fields = parse_metadata({"url": "https://me:secret@host/a.wav"}, "x")
    assert fields == {"source": "https://host/a.wav"}


def test_an_unknown_split_is_refused(music: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "table.jsonl"
    table.write_text('{"path": "waltz/piece.ogg", "split": "eval"}\n')
    arguments = ["--source", str(music), "--metadata", str(table), "--output", str(tmp_path / "m.jsonl")]
    assert main(["manifest", *arguments]) == 2
    assert (
        "table.jsonl, line 1, 'split' is 'eval'; give one of train, validation, test"
        in capsys.readouterr().err
    )
