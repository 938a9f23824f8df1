from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lightning_n2m.backbones.tensorflow_checkpoint import read_tensorflow_checkpoint
from lightning_n2m.errors import InputError


@pytest.mark.parametrize("damage", ["missing", "cut", "no magic"])
def test_a_damaged_checkpoint_is_reported_in_one_line(tmp_path, damage):
    folder = Path(importlib.util.find_spec("musicnn").submodule_search_locations[0]) / "MTT_musicnn"
    index, data = (folder / ".index").read_bytes(), (folder / ".data-00000-of-00001").read_bytes()
    if damage != "missing":
        (tmp_path / ".index").write_bytes(index[:-8] + bytes(8) if damage == "no magic" else index)
        (tmp_path / ".data-00000-of-00001").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"cannot be read|damaged"):
        read_tensorflow_checkpoint(f"{tmp_path}/")
