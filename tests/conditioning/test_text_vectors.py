from __future__ import annotations

import json
import struct
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_vectors import (
    EncoderHeader,
    StoredTextVectors,
    caption_key,
    open_text_vectors,
    write_block,
    write_index,
)
from lightning_n2m.errors import InputError

HEADER = EncoderHeader("m", "abc", 8, "bfloat16")
TEXTS = [f"text {number}" for number in range(50)]


def vectors(texts: list[str], dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 9, (len(texts),), generator=generator).tolist()
    return {
        text: torch.randn(length, 6, generator=generator).to(dtype)
        for text, length in zip(texts, lengths, strict=True)
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Vectors of 50 texts in two blocks."""
    write_index(tmp_path, HEADER)
    known = vectors(TEXTS)
    for part in (TEXTS[:30], TEXTS[30:]):
        write_block(tmp_path, HEADER, {text: known[text] for text in part})
    return tmp_path


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_every_vector_comes_back_bit_for_bit(tmp_path: Path, dtype: str) -> None:
    header = replace(HEADER, dtype=dtype)
    known = vectors(TEXTS, getattr(torch, dtype))
    write_index(tmp_path, header)
    write_block(tmp_path, header, known)
    stored = StoredTextVectors(tmp_path, header)
    assert len(stored) == 50
    for text, expected in known.items():
        states = stored.read(text)
        assert states is not None
        assert states.dtype == expected.dtype
        assert torch.equal(states, expected)
    assert stored.read("another text") is None
    assert "another text" not in stored


def test_a_block_is_a_valid_safetensors_file(folder: Path) -> None:
    for path in folder.glob("block-*.safetensors"):
        tensors = load_file(path)
        assert tensors["states"].shape == (int(tensors["offsets"][-1]), 6)


def test_keys_that_share_their_first_half_are_distinguished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    halves = {text: bytes(8) + caption_key(text)[8:] for text in [*TEXTS, "unknown"]}
    monkeypatch.setattr("lightning_n2m.conditioning.text_vectors.caption_key", halves.__getitem__)
    known = vectors(TEXTS)
    write_index(tmp_path, HEADER)
    write_block(tmp_path, HEADER, known)
    stored = StoredTextVectors(tmp_path)
    assert all(torch.equal(stored.read(text), known[text]) for text in TEXTS)  # type: ignore[arg-type]
    assert stored.read("unknown") is None


@pytest.mark.parametrize("change", [{"revision": "x"}, {"max_tokens": 9}, {"dtype": "float32"}])
def test_vectors_of_another_encoder_are_refused(folder: Path, change: dict) -> None:
    with pytest.raises(InputError, match=r"data\.text_vectors") as error:
        StoredTextVectors(folder, replace(HEADER, **change))
    assert str(folder) in str(error.value)
    assert len(StoredTextVectors(folder, replace(HEADER, model="the same elsewhere"))) == 50


def test_the_revision_changes_with_weights_and_tokenizer(tmp_path: Path) -> None:
    def revision(weight: float, size: int = 10) -> str:
        save_file({"a": torch.full((size,), weight)}, tmp_path / "model.safetensors")
        return EncoderHeader.of(TextEncoder(str(tmp_path))).revision

    first = revision(1.0)
    assert revision(1.0) == first
    assert revision(2.0) != first
    assert revision(1.0) == first
    large = revision(1.0, 20_000_000)  # read by samples
    assert revision(1.0, 20_000_000) == large
    assert revision(2.0, 20_000_000) != large
    (tmp_path / "tokenizer.json").write_text("{}")
    assert revision(1.0) != first


def test_folders_without_vectors_are_skipped(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    empty = tmp_path_factory.mktemp("empty")
    assert open_text_vectors([empty], TextEncoder("m")) is None


def read_all(folder: Path) -> None:
    stored = StoredTextVectors(folder, HEADER)
    for text in TEXTS:
        stored.read(text)


def _rewrite_header(path: Path, change) -> None:
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    fields = json.loads(data[8 : 8 + length])
    change(fields)
    header = json.dumps(fields).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


def _not_finite(path: Path) -> None:
    tensors = load_file(path)
    tensors["states"][:] = torch.nan
    save_file(tensors, path, {"encoder": json.dumps(asdict(HEADER))})


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "header beyond the file": lambda path: path.write_bytes(struct.pack("<Q", 1 << 60) + b"{}"),
    "header is not JSON": lambda path: path.write_bytes(struct.pack("<Q", 4) + b"abcd"),
    "deep JSON": lambda path: path.write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000),
    "a list": lambda path: path.write_bytes(struct.pack("<Q", 2) + b"[]"),
    "other encoder": lambda path: _rewrite_header(path, lambda f: f["__metadata__"].update(encoder="{}")),
    "shape beyond the file": lambda path: _rewrite_header(
        path, lambda f: f["states"].update(shape=[1 << 40, 6], data_offsets=[0, 12 << 40])
    ),
    "negative": lambda path: _rewrite_header(path, lambda f: f["keys"].update(data_offsets=[-16, 0])),
    "other type": lambda path: _rewrite_header(path, lambda f: f["states"].update(dtype="F16")),
    "no states": lambda path: _rewrite_header(path, lambda f: f.pop("states")),
    "not finite": _not_finite,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_block_is_refused_in_one_line(folder: Path, damage) -> None:
    path = sorted(folder.glob("block-*.safetensors"))[0]
    damage(path)
    with pytest.raises(InputError, match=r"block-.*derive-text") as error:
        read_all(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "[" * 100_000, '{"format": 2}', '{"format": 1, "model": 3}']
)
def test_a_damaged_index_is_refused_in_one_line(folder: Path, content: str) -> None:
    (folder / "index.json").write_text(content)
    with pytest.raises(InputError, match=r"index\.json is damaged"):
        StoredTextVectors(folder)
