"""What a scan does not use is reported, and unsafe sources are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.__main__ import main
from tests.data_pipeline.manifests import SHORT, run, tune


def test_what_is_not_used_is_named_with_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    music = tmp_path / "music"
    tune(music / "a.wav")
    tune(music / "b.wav", 1)
    (music / "cover.jpg").write_bytes(b"x")
    (music / "more.zip").write_bytes(b"x")
    table = tmp_path / "t.csv"
    table.write_text(
        "path,title,loudness,year,caption\n"
        "a.wav,A,-9,1999,One.\nb.wav,B,-8,soon,Two.,extra\nx.wav,X,-7,,\ny\x1b[1m.wav,Y,,,\n,Z,,,\n"
    )
    tracks, rejected = run(music, tmp_path / "m.jsonl", "--metadata", str(table), *SHORT)
    assert [(track.title, track.year, track.descriptions) for track in tracks] == [
        ("A", "1999", ("One.",)),
        ("B", "", ("Two.",)),
    ]
    assert rejected == {"more.zip": "archive"}
    report = capsys.readouterr().out
    assert "rejected: 1 archive" in report
    assert "Skipped, as they are not audio: .jpg (1)." in report
    assert f"{table}: 2 of 5 rows describe files of the source." in report
    assert "2 rows name no file, or several: x.wav, y\\x1b[1m.wav." in report
    assert "1 rows have an empty path" in report
    assert "columns not used: loudness (3 values), cells beyond the last column (1 values)" in report
    assert "values not used: year: no year in it (1)" in report
    assert "\x1b" not in report
    assert report.endswith(f"shard --manifest {tmp_path / 'm.jsonl'} --output shards\n")


@pytest.mark.parametrize(
    "url",
    ["s3://key:hunter2@bucket/music", "https://me:hunter2@host/a", "https://host/a?X-Amz-Signature=hunter2"],
)
def test_a_url_with_a_password_is_refused_and_not_repeated(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", "--source", url, "--output", str(tmp_path / "m.jsonl")]) == 2
    report = capsys.readouterr()
    assert "holds a password or key" in report.err
    assert "hunter2" not in report.err + report.out
    assert not list(tmp_path.iterdir())
