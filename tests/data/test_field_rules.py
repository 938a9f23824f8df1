"""Fields out of their ranges are named."""

from __future__ import annotations

import json

import pytest

from lightning_n2m.data.schema import Index, read_captions, read_index
from lightning_n2m.errors import InputError
from tests.data.conftest import SHARD

NAME = "audio-000007.tar"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("name", name) for name in (
            "../" + NAME, "/tmp/" + NAME, NAME + "/", "a/" + NAME, NAME + "\n", "audio-\x00.tar",
            "index.json", "audio-000007.tar.exe", "", None, 7, "audio-٠٠٠٠٠٠.tar",
        )),
        *(("sha256", text) for text in ("../" * 21 + "x", "AB" * 32, "ab" * 31, "", None, "ab" * 31 + "/.")),
        ("split", "eval"), ("split", None), ("clips", -1), ("clips", 1.5), ("clips", True), ("clips", "12"),
        ("clips", 10**12), ("seconds", -1), ("seconds", float("nan")), ("seconds", float("inf")),
        ("seconds", 361.0), ("bytes", -1), ("bytes", 1e3), ("bytes", 10**30),
    ],
)  # fmt: skip
def test_a_field_of_a_shard_out_of_its_range_is_named(tmp_path, field, value):
    """Names and checksums become file names; counts and seconds decide how much is allocated."""
    fields = json.loads(Index((SHARD,)).to_json())
    fields["shards"][0][field] = value
    (tmp_path / "index.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=rf"index\.json is damaged.*{field}") as error:
        read_index(tmp_path)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sample_rate", 0), ("sample_rate", 1e9), ("sample_rate", None), ("clip_seconds", 0),
        ("clip_seconds", -1), ("clip_seconds", 1e9), ("clip_seconds", float("nan")), ("settings", None),
        ("settings", []), ("settings", {"validation": "x"}), ("settings", {"test": 2}),
        ("settings", {"mel": {"hop": 0}}), ("settings", {"mel": 3}), ("settings", {"parents": "../x"}),
        ("settings", {"sample_rate": -1}),
    ],
)  # fmt: skip
def test_a_field_of_an_index_out_of_its_range_is_named(tmp_path, field, value):
    fields = json.loads(Index((SHARD,)).to_json()) | {field: value}
    (tmp_path / "index.json").write_text(json.dumps(fields))
    with pytest.raises(InputError, match=rf"index\.json is damaged.*{field}"):
        read_index(tmp_path)


@pytest.mark.parametrize(
    "line",
    [
        {"key": "../x-00"}, {"key": "a/b-00"}, {"key": "a"}, {"key": ""}, {"key": 3}, {"long": []},
        {"key": "a-00", "long": "text"}, {"key": "a-00", "short": [1]}, {"key": "a-00", "long": [["a"]]},
    ],
)  # fmt: skip
def test_a_caption_line_out_of_its_range_is_named(tmp_path, line):
    path = tmp_path / "captions-000000.jsonl"
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(InputError, match=r"captions-000000.jsonl, line 1, is damaged"):
        read_captions(path)
