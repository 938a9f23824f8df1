from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.data.schema import Captions, Clip, Index, Shard, read_captions, read_index, split_of
from lightning_n2m.errors import InputError
from tests.data.conftest import SHARD

CLIP = Clip(
    "0a1b2c",
    3,
    90.0,
    30.0,
    24_000,
    title="Übermorgen – 東京",
    genres=("waltz", "folk"),
    tags=("slow",),
    descriptions=("A slow waltz.",),
    truth={"tempo": 92},
)


def test_clips_survive_their_json():
    assert Clip.from_json(CLIP.to_json()) == CLIP
    assert CLIP.to_json() == Clip.from_json(CLIP.to_json()).to_json()


def test_fields_of_a_newer_version_are_skipped():
    newer = json.loads(CLIP.to_json()) | {"mood": "sunny"}
    assert Clip.from_json(json.dumps(newer)) == CLIP


def test_keys_are_unique_in_a_track_and_hold_no_dot():
    assert CLIP.key == "0a1b2c-03"
    assert "." not in CLIP.key


def test_an_index_survives_its_json(tmp_path):
    index = Index(
        (SHARD, Shard("audio-000008.tar", "test", 0, 0.0, 10, "cd" * 32)), settings={"validation": 0.1}
    )
    (tmp_path / "index.json").write_text(index.to_json())
    assert read_index(tmp_path) == index
    assert read_index(str(tmp_path)).of("train") == (SHARD,)
    assert index.of("test") == ()


def test_captions_lie_beside_their_shard():
    assert SHARD.captions_name == "captions-000007.jsonl"


@given(
    long=st.lists(st.text(min_size=1), max_size=3),
    short=st.lists(st.text(min_size=1), max_size=3),
    more=st.text(),
)
def test_captions_of_any_characters_are_read_again(tmp_path_factory, long, short, more):
    path = tmp_path_factory.mktemp("captions") / "captions-000000.jsonl"
    written = [
        Captions("a-00", tuple(long), tuple(short)),
        Captions("b-00", (more, "line\u2028separator\x85")),
    ]
    path.write_bytes(
        "".join(captions.to_json() + "\n" for captions in written).encode("utf-8", "surrogatepass")
    )
    assert read_captions(path) == {captions.key: captions for captions in written}


def test_a_missing_caption_file_holds_no_captions(tmp_path):
    assert read_captions(tmp_path / "captions-000000.jsonl") == {}


@pytest.mark.parametrize("line", [b"{", b'"text"', b'{"long": []}', b"null", b"\xff\xfe"])
def test_a_damaged_caption_line_is_named(tmp_path, line):
    path = tmp_path / "captions-000000.jsonl"
    path.write_bytes(Captions("a-00").to_json().encode() + b"\n" + line + b"\n")
    with pytest.raises(InputError, match=r"captions-000000.jsonl.*damaged"):
        read_captions(path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="nowhere does not exist"):
        read_index(tmp_path / "nowhere")


def test_a_folder_without_an_index_is_named(tmp_path):
    with pytest.raises(InputError, match=r"holds no index\.json"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 1}',
        b'{"format": 1, "shards": 3}',
        b'{"format": 1, "shards": [null]}',
        b'{"format": 1, "shards": [{"name": "audio-000000.tar"}]}',
        b'{"shards": []}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_index_is_named(tmp_path, content):
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(InputError, match=r"index\.json is damaged"):
        read_index(tmp_path)


def test_a_shard_that_is_listed_twice_is_refused(tmp_path):
    (tmp_path / "index.json").write_text(Index((SHARD, SHARD)).to_json())
    with pytest.raises(InputError, match="listed twice"):
        read_index(tmp_path)


@pytest.mark.parametrize("content", [b"[" * 1_000_000, b'{"shards":' * 300_000])
def test_deep_nesting_is_refused(tmp_path, content):
    (tmp_path / "index.json").write_bytes(content)
    with pytest.raises(InputError, match="nested too deeply"):
        read_index(tmp_path)


def test_another_format_is_refused(tmp_path):
    (tmp_path / "index.json").write_text(Index((SHARD,), format=2).to_json())
    with pytest.raises(InputError, match="has format 2, but this version reads 1"):
        read_index(tmp_path)


def test_an_index_without_clips_is_refused(tmp_path):
    (tmp_path / "index.json").write_text(Index(()).to_json())
    with pytest.raises(InputError, match="holds no clips"):
        read_index(tmp_path)


def test_splits_have_their_shares_and_a_track_never_moves_out_of_test():
    tracks = [f"track {i}" for i in range(4000)]
    splits = [split_of(track, validation=0.2, test=0.1) for track in tracks]
    assert splits == [split_of(track, validation=0.2, test=0.1) for track in tracks]
    for split, share in (("train", 0.7), ("validation", 0.2), ("test", 0.1)):
        assert abs(splits.count(split) / len(tracks) - share) < 0.03
    more = [split_of(track, validation=0.3, test=0.1) for track in tracks]
    for before, after in zip(splits, more, strict=True):
        assert after == before or (before, after) == ("train", "validation")
