"""Every file of a collection is found, named as rejected, or counted."""

from __future__ import annotations

import io
import os
import tarfile
from collections import Counter
from pathlib import Path

import fsspec
import pytest
import soundfile

from data_pipeline.scan.file_scan import SourceFile, local_audio, read_small
from data_pipeline.scan.walk import walk


def scan(source: str | Path) -> tuple[dict[str, SourceFile], Counter[str]]:
    others: Counter[str] = Counter()
    return {file.name: file for file in walk(source, others)}, others


def audio(format: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, [0.1, -0.1] * 2000, 24_000, format=format, subtype=subtype)
    return stream.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


@pytest.mark.parametrize(
    "suffix", ["wave", "mp2", "m4b", "mka", "webm", "tta", "wma", "dsf", "ac3", "aiff", "MP3", "Opus"]
)
def test_audio_is_known_by_its_ending(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"?")
    files, others = scan(tmp_path)
    assert files[f"a.{suffix}"].reason == ""
    assert not others


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "AIFF", "AU", "CAF", "MP3", "RF64"])
def test_files_without_an_ending_are_known_by_their_first_bytes(format: str, tmp_path: Path) -> None:
    for name in ("Symphony No. 5", "0042", "a.b c"):
        (tmp_path / name).write_bytes(audio(format))
    (tmp_path / "README").write_bytes(b"text, and not audio")
    files, others = scan(tmp_path)
    assert set(files) == {"Symphony No. 5", "0042", "a.b c"}
    assert others == {"no ending": 1}


def test_captions_without_an_audio_file_of_their_name_are_counted(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("song.flac", "song.txt", "sub/other.wav", "sub/other.wav.json"):
        (tmp_path / name).write_bytes(b"?")
    assert not scan(tmp_path)[1]
    for name in ("sogn.txt", "sub/song.json", "captions.json"):
        (tmp_path / name).write_bytes(b"?")
    assert scan(tmp_path)[1] == {
        ".txt without an audio file of its name": 1,
        ".json without an audio file of its name": 2,
    }


@pytest.mark.parametrize("name", ["captions.csv", "captions.json"])
def test_the_metadata_file_is_not_counted(tmp_path: Path, name: str) -> None:
    (tmp_path / "song.flac").write_bytes(b"?")
    (tmp_path / name).write_bytes(b"?")
    others: Counter[str] = Counter()
    assert len(list(walk(tmp_path, others, tmp_path / name))) == 1
    assert not others


def test_archives_are_rejected_and_other_files_counted(tmp_path: Path) -> None:
    for name in (
        "a.zip",
        "b.tar.gz",
        "c.7z",
        "d.rar",
        "cover.jpg",
        "back.JPG",
        "list.m3u",
        "a.txt",
        "b.json",
    ):
        (tmp_path / name).write_bytes(b"x")
    with tarfile.open(tmp_path / "pack.tar", "w") as tar:
        add(tar, "in.zip", b"x")
        add(tar, "cover.png", b"x")
    files, others = scan(tmp_path)
    assert {name: file.reason for name, file in files.items()} == dict.fromkeys(
        ("a.zip", "b.tar.gz", "c.7z", "d.rar", "pack.tar/in.zip"), "archive"
    )
    assert all("unpack" in file.detail for file in files.values())
    kinds = {".jpg": 2, ".m3u": 1, ".png": 1}
    assert others == kinds | {
        f"{ending} without an audio file of its name": 1 for ending in (".txt", ".json")
    }


def test_pipes_devices_and_dangling_links_are_named_and_stop_nothing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tar")
    os.mkfifo(tmp_path / "pipe.wav")
    os.mkfifo(tmp_path / "no ending")
    (tmp_path / "device.tar").symlink_to("/dev/zero")
    (tmp_path / "device.flac").symlink_to("/dev/zero")
    (tmp_path / "gone.tar").symlink_to("nowhere")
    (tmp_path / "gone.wav").symlink_to("nowhere")
    (tmp_path / "good.wav").write_bytes(audio("WAV"))
    os.mkfifo(tmp_path / "good.json")
    (tmp_path / "good.txt").symlink_to("nowhere")
    files, others = scan(tmp_path)
    reasons = {name: file.reason for name, file in files.items()}
    rejected = ("pipe.tar", "pipe.wav", "device.tar", "device.flac", "gone.tar", "gone.wav")
    assert reasons == {**dict.fromkeys(rejected, "unreadable"), "good.wav": ""}
    assert others == {"no ending": 1}
    with pytest.raises(ValueError, match="regular file"):
        read_small(files["good.wav"].json_sidecar, 100)


def test_sidecars_are_found_under_both_names(tmp_path: Path) -> None:
    for name in ("a.wav", "a.txt", "b.mp3", "b.mp3.txt", "b.mp3.json", "c.flac", "Op. 5", "Op. 5.txt"):
        (tmp_path / name).write_bytes(audio("WAV") if name == "Op. 5" else b"x")
    files, _ = scan(tmp_path)
    found = {
        name: (Path(file.json_sidecar).name, Path(file.caption_sidecar).name) for name, file in files.items()
    }
    assert found == {
        "a.wav": ("", "a.txt"),
        "b.mp3": ("b.mp3.json", "b.mp3.txt"),
        "c.flac": ("", ""),
        "Op. 5": ("", "Op. 5.txt"),
    }


def test_a_changed_sidecar_changes_the_stamp(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    stamps = []
    for text in (None, "one", "longer"):
        if text:
            (tmp_path / "a.txt").write_text(text)
        stamps.append(scan(tmp_path)[0]["a.wav"].stamp)
    assert len(set(stamps)) == 3


def test_a_single_file_and_a_single_tar_are_collections(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    (tmp_path / "b.wav").write_bytes(b"x")
    (tmp_path / "a.txt").write_text("A caption.")
    with tarfile.open(tmp_path / "pack.tar", "w") as tar:
        add(tar, "in/c.wav", b"abc")
        add(tar, "in/c.txt", b"A caption.")
    files, _ = scan(tmp_path / "a.wav")
    assert list(files) == ["a.wav"]
    assert Path(files["a.wav"].caption_sidecar) == tmp_path / "a.txt"
    files, _ = scan(tmp_path / "pack.tar")
    assert list(files) == ["pack.tar/in/c.wav"]
    with local_audio(files["pack.tar/in/c.wav"].path) as data:
        assert data == b"abc"
    assert read_small(files["pack.tar/in/c.wav"].caption_sidecar, 100) == b"A caption."


def test_a_source_behind_a_link_and_two_dots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`link/..` is the parent of the folder that the link leads to, not of the link."""
    (tmp_path / "far/music/sub").mkdir(parents=True)
    (tmp_path / "far/music/a.wav").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "far/music/sub")
    monkeypatch.chdir(tmp_path / "far/music/sub")
    for source in ("..", "../../music", str(tmp_path / "link/..")):
        files, _ = scan(source)
        assert files["a.wav"].path == str((tmp_path / "far/music/a.wav").resolve())


def test_a_bucket_is_scanned_like_a_folder() -> None:
    system = fsspec.filesystem("memory")
    for name in ("a.webm", "a.txt", "b.zip", "c.png", "noending"):
        system.pipe_file(f"/bucket-walk/{name}", audio("FLAC"))
    files, others = scan("memory://bucket-walk")
    assert {name: file.reason for name, file in files.items()} == {
        "a.webm": "",
        "b.zip": "archive",
        "noending": "",
    }
    assert files["a.webm"].caption_sidecar.endswith("bucket-walk/a.txt")
    assert others == {".png": 1}
    assert list(scan("memory://bucket-walk/a.webm")[0]) == ["a.webm"]


def test_folders_that_link_to_each_other_are_entered_once(music: Path) -> None:
    (music / "waltz/up").symlink_to(music, target_is_directory=True)
    (music / "hymn/again").symlink_to(music / "tango", target_is_directory=True)
    assert len(list(walk(music))) == 4
