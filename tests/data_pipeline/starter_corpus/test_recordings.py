"""Recordings of Debian packages, and their licences."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline.starter_corpus import recordings
from lightning_n2m.errors import InputError


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: Path) -> Path:
    """Packages with one or two songs each, unpacked."""
    for package in recordings.packages():
        root = tmp_path / "cache" / package.name
        copyright_file = root / "usr/share/doc" / package.name / "copyright"
        copyright_file.parent.mkdir(parents=True)
        # Any text that the proof matches: the expression itself, its operators taken out.
        text = package.proof.replace("\\", "").replace(".{0,80}", "x ").replace(".{0,60}", "x ")
        copyright_file.write_text(text.replace(".*", "x ").replace(" ?", " ").replace(" ", "\n  "))
        name = package.pattern.replace("**", "deep").replace("/*/", "/song/").replace("*", "1")
        for number in range(2 if package.stems else 1):
            song = root / name.replace("1.ogg", f"{number + 1}.ogg")
            song.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clips / ("waltz.ogg" if number == 0 else "hymn.ogg"), song)
    return tmp_path / "cache"


def test_recordings_come_with_licence_and_source(unpacked: Path, tmp_path: Path) -> None:
    lines = recordings.fetch(tmp_path / "corpus/recorded", unpacked)
    assert {line["licence"] for line in lines} == {"CC BY-SA 3.0"}
    assert len(lines) == len(recordings.packages())
    for line in lines:
        assert (tmp_path / "corpus" / str(line["path"])).is_file()
        assert line["title"]
        assert str(line["source"]).startswith("Debian package ")
    stems = next(line for line in lines if "muldjord" in str(line["path"]))
    samples, _ = soundfile.read(tmp_path / "corpus" / str(stems["path"]))
    one, _ = soundfile.read(
        unpacked / "fretsonfire-songs-muldjord/usr/share/games/fretsonfire/data/songs/muldjord/song/1.ogg"
    )
    assert np.abs(samples).max() < 1
    assert not np.allclose(samples[: len(one)], one, atol=1e-2)
    assert lines == recordings.fetch(tmp_path / "corpus/recorded", unpacked)


def test_a_package_that_changed_its_licence_is_refused(unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "zaz-data/usr/share/doc/zaz-data/copyright").write_text("All rights reserved.")
    with pytest.raises(InputError, match=r"zaz-data/copyright no longer says"):
        recordings.fetch(tmp_path / "recorded", unpacked)
