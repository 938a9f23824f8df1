"""Tables in every form are read, and damaged ones are refused."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from data_pipeline.__main__ import main
from data_pipeline.scan.annotations.reader import Annotations
from lightning_n2m.errors import InputError
from tests.data_pipeline.manifests import tune
from tests.data_pipeline.scan.annotations.tables import MUSICCAPS, joined


def test_a_wrong_table_is_refused_before_the_scan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tune(tmp_path / "music/a.wav")
    (tmp_path / "t.xlsx").write_bytes(b"PK\3\4 something")
    (tmp_path / "n.csv").write_text("a.wav,A caption.\n" * 2)
    os.mkfifo(tmp_path / "p.csv")
    for name, reason in (("t.xlsx", "a workbook"), ("n.csv", "no 'path'"), ("p.csv", "not a regular file")):
        arguments = ["--source", str(tmp_path / "music"), "--metadata", str(tmp_path / name)]
        assert main(["manifest", *arguments, "--output", str(tmp_path / "out/m.jsonl")]) == 2
        assert reason in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


ROWS = [
    {"path": "waltz.ogg", "title": 'A "waltz", slow', "genres": ["waltz", "folk"], "truth": {"tempo": 90}},
    {"path": "sub/tängo.ogg", "artist": "Nobody\nat all", "year": "1931", "tags": ["sad"]},
]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_a_table_of_ones_own_is_joined_in_any_form(kind: str, tmp_path: Path) -> None:
    known = tmp_path / f"known.{kind}"
    if kind == "jsonl":
        known.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "parquet":
        flat = [{**row, "truth": json.dumps(row.get("truth", {}))} for row in ROWS]
        names = ("path", "title", "artist", "year", "genres", "tags", "truth")
        table = pyarrow.table({name: [row.get(name) for row in flat] for name in names})
        pyarrow.parquet.write_table(table, known)
    else:
        mark = "," if kind == "csv" else "\t"
        cells = [
            ["path", "title", "artist", "year", "genres", "tags", "truth"],
            ["waltz.ogg", '"A ""waltz"", slow"', "", "", "waltz; folk", "", '"{""tempo"": 90}"'],
            ["sub/tängo.ogg", "", '"Nobody\nat all"', "1931", "", "sad", ""],
        ]
        known.write_text("".join(mark.join(row) + "\n" for row in cells), encoding="utf-8-sig")
    waltz, tango = sorted(
        joined(tmp_path, known, "waltz.ogg", "sub/tängo.ogg"), key=lambda track: track.source, reverse=True
    )
    assert (waltz.title, waltz.genres, waltz.truth) == ('A "waltz", slow', ("waltz", "folk"), {"tempo": 90})
    assert (tango.artist, tango.year, tango.tags) == ("Nobody\nat all", "1931", ("sad",))


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.csv", "path,genres\n", None),
        ("x.csv", "title\nno path\n", "no 'path'"),
        ("x.csv", "path,truth\na.ogg,{\n", "'truth'"),
        ("x.csv", b"path\n\xff\xfe\n", "cannot be read"),
        ("x.parquet", "no parquet", "cannot be read"),
        ("x.jsonl", "[1]\n", "not a JSON object"),
        ("x.csv", MUSICCAPS.replace("['soft", "[soft"), "MusicCaps again"),
    ],
)
def test_damaged_tables_are_refused_with_a_sentence(
    name: str, text: str | bytes, reason: str | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    if reason is None:
        assert list(Annotations(tmp_path / name)) == []
        return
    with pytest.raises(InputError, match=reason) as error:
        list(Annotations(tmp_path / name))
    assert "\n" not in str(error.value)
