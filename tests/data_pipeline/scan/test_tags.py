"""Tags of real files: codes, encodings, several values, and chunks of other formats."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import numpy as np
import pytest
import soundfile

from data_pipeline.scan.tags import read_tags
from lightning_n2m.audio.io import probe


def frame(name: str, body: bytes) -> bytes:
    return name.encode() + struct.pack(">I", len(body)) + b"\0\0" + body


def id3(*frames: bytes, version: int = 3) -> bytes:
    content = b"".join(frames)
    size = bytes((len(content) >> shift) & 127 for shift in (21, 14, 7, 0))
    return b"ID3" + bytes((version, 0, 0)) + size + content


def audio(format: str, subtype: str | None = None) -> bytes:
    stream = io.BytesIO()
    noise = 0.1 * np.random.default_rng(0).normal(size=2400)
    soundfile.write(stream, noise, 24_000, format=format, subtype=subtype)
    return stream.getvalue()


MP3 = audio("MP3", "MPEG_LAYER_III")


def with_chunk(format: str, name: bytes, tag: bytes) -> bytes:
    """A RIFF or AIFF file with one more chunk."""
    order = ">" if format == "AIFF" else "<"
    tag += b"\0" * (len(tag) % 2)
    data = audio(format, "PCM_16") + name + struct.pack(order + "I", len(tag)) + tag
    return data[:4] + struct.pack(order + "I", len(data) - 8) + data[8:]


def read(data: bytes) -> dict[str, object]:
    return read_tags(data, probe(data).tags)[0]


@pytest.mark.parametrize(
    ("content", "genres"),
    [
        (b"\0(17)", ("rock",)),
        (b"\0(3)Dance", ("dance",)),
        (b"\0(52)(53)", ("electronic", "pop-folk")),
        (b"\x0013", ("pop",)),
        (b"\0Rock;Folk", ("rock", "folk")),
        (b"\0Rock/Folk", ("rock", "folk")),
        (b"\3Rock\0Folk", ("rock", "folk")),
        (b"\0(255)", None),
    ],
)
def test_genres(content: bytes, genres: tuple[str, ...] | None) -> None:
    fields = read(id3(frame("TCON", content)) + MP3)
    if genres is None:
        assert fields == {}  # No genre has this code, and a number must not become a caption.
    else:
        assert fields == {"genres": genres}


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\0" + text.encode("latin-1"),
        lambda text: b"\3" + text.encode(),
        lambda text: b"\1\xff\xfe" + text.encode("utf-16-le"),
        lambda text: b"\1\xfe\xff" + text.encode("utf-16-be"),
        lambda text: b"\1" + text.encode("utf-16-le"),
        lambda text: b"\2" + text.encode("utf-16-be"),
        lambda text: b"\1\xff\xfe\xfe\xff" + text.encode("utf-16-be"),
        lambda text: b"\0" + text.encode(),
    ],
    ids=["latin-1", "utf-8", "utf-16-le", "utf-16-be", "no mark", "be", "two marks", "utf-8 as latin-1"],
)
def test_encodings(encode: Callable[[str], bytes]) -> None:
    assert read(id3(frame("TIT2", encode("Über den Fluß"))) + MP3) == {"title": "Über den Fluß"}


def test_letters_that_are_lost_do_not_become_a_title() -> None:
    japanese = "サンプル".encode("cp932")
    tag = (
        b"TAG"
        + japanese.ljust(30, b"\0")
        + b"Ann".ljust(30, b"\0")
        + bytes(30)
        + b"1999"
        + bytes(30)
        + b"\x11"
    )
    fields, ignored = read_tags(MP3 + tag, probe(MP3 + tag).tags)
    assert fields == {"artist": "Ann", "year": "1999", "genres": ("rock",)}
    assert ignored.values == {"title: not readable in its encoding": 1}


@pytest.mark.parametrize(("format", "name"), [("AIFF", b"ID3 "), ("WAV", b"id3 "), ("WAV", b"ID3 ")])
def test_id3_in_chunks(format: str, name: bytes) -> None:
    tag = id3(frame("TIT2", b"\0A Title"), frame("TCON", b"\0(8)"), frame("TYER", b"\x001999"))
    assert read(with_chunk(format, name, tag)) == {"title": "A Title", "genres": ("jazz",), "year": "1999"}


def test_several_artists_and_names_of_the_older_version() -> None:
    assert read(id3(frame("TPE1", b"\3Ann\0Bo")) + MP3) == {"artist": "Ann, Bo"}
    assert read(id3(frame("TP1\0", b"\0Ann"), frame("TIT2", b"\0Song")) + MP3) == {
        "artist": "Ann",
        "title": "Song",
    }
    old = b"TT2" + (5).to_bytes(3) + b"\0Song"
    assert read(id3(old, version=2) + MP3) == {"title": "Song"}


@pytest.mark.parametrize(
    ("content", "year"),
    [("0000", None), ("Oct 12, 2003", "2003"), ("\xfe\xff", None), ("2003-05-01T10", "2003")],
)
def test_years(content: str, year: str | None) -> None:
    assert read(id3(frame("TYER", b"\0" + content.encode("latin-1"))) + MP3).get("year") == year


def test_a_damaged_tag_costs_the_tag_only() -> None:
    for tag in (id3(frame("TIT2", b"\1\xff"))[:-3], b"ID3\3\0\0\x7f\x7f\x7f\x7f" + bytes(20)):
        fields, _ = read_tags(tag + MP3, {})
        assert set(fields) <= {"title"}
