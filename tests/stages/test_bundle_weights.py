from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lightning_n2m.errors import InputError
from lightning_n2m.stages.bundle_weights import (
    checkpoint_weights,
    read_checkpoint,
    read_safetensors,
    regular_file,
    store,
)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_tensor_that_is_not_finite_is_named(tmp_path: Path, value: float) -> None:
    weights = {"a": torch.zeros(3), "entry.weight": torch.tensor([0.0, value])}
    save_file(weights, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"network.{k}": v for k, v in weights.items()}}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"entry\.weight holds NaN or infinite"):
        read_safetensors(tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"entry\.weight holds NaN or infinite"):
        checkpoint_weights(tmp_path / "last.ckpt", "network.")


def test_a_value_beyond_32_bits_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "w.safetensors")
    with pytest.raises(InputError, match="a holds NaN or infinite"):
        read_safetensors(tmp_path / "w.safetensors")


def test_a_tensor_beyond_16_bits_is_stored_in_32() -> None:
    stored = store({"small": torch.ones(2), "large": torch.tensor([1e5])}, half=True)
    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        "small": torch.float16,
        "large": torch.float32,
    }


def _header(entries: object, data: bytes = b"") -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        (1 << 62).to_bytes(8, "little") + b"{}",
        _header(b"[" * 100_000),
        _header(b"{"),
        _header([1]),
        _header({"a": 3}),
        _header({"a": {**ENTRY, "data_offsets": [0, 400]}}, bytes(4)),
        _header({"a": {**ENTRY, "shape": [1 << 50], "data_offsets": [0, 4]}}, bytes(4)),
        _header({"a": {**ENTRY, "shape": [-1]}}, bytes(4)),
        _header({"a": {**ENTRY, "dtype": "X9"}}, bytes(4)),
        _header({"a": ENTRY}, bytes(3)),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"w\.safetensors is damaged"):
        read_safetensors(path)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(5), "b": torch.ones(2, 2)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.safetensors").write_bytes(whole[:length])
        with pytest.raises(InputError, match="is damaged"):
            read_safetensors(tmp_path / "cut.safetensors")


def test_links_out_of_the_folder_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("x")
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "device").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe")
    (folder / "file").write_text("x")
    (folder / "inside").symlink_to("file")
    for name, message in (("link", "leads out"), ("device", "leads out"), ("pipe", "not a regular file")):
        with pytest.raises(InputError, match=message):
            regular_file(folder, name)
    assert regular_file(folder, "inside").read_text() == "x"


def test_a_checkpoint_whose_tensor_claims_more_than_its_storage_is_refused(tmp_path: Path) -> None:
    claimed = torch.zeros(1).expand(1 << 40)
    torch.save({"state_dict": {"network.a": claimed}}, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match="a is not a whole tensor"):
        checkpoint_weights(tmp_path / "last.ckpt", "network.")


def test_a_compressed_checkpoint_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    torch.save({"state_dict": {"network.a": torch.zeros(1 << 20)}}, tmp_path / "plain.ckpt")
    with (
        zipfile.ZipFile(tmp_path / "plain.ckpt") as plain,
        zipfile.ZipFile(tmp_path / "bomb.ckpt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in plain.namelist():
            bomb.writestr(member, plain.read(member))
    with pytest.raises(InputError, match="is compressed"):
        read_checkpoint(tmp_path / "bomb.ckpt")
    assert read_checkpoint(tmp_path / "plain.ckpt")["state_dict"]["network.a"].shape == (1 << 20,)


@pytest.mark.parametrize("content", [{"a": 1}, [1], {"state_dict": 3}, {"state_dict": {"network.a": 3}}])
def test_a_checkpoint_without_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(InputError, match=r"last\.ckpt"):
        checkpoint_weights(tmp_path / "last.ckpt", "network.")
