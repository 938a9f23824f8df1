from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.arrays import map_array, read_clips


def check(path: Path) -> np.ndarray:
    return map_array(path, np.float32, (3, None, 2), "delete it")


def test_a_valid_array_is_mapped(tmp_path: Path) -> None:
    values = np.arange(24, dtype=np.float32).reshape(3, 4, 2)
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(check(tmp_path / "a.npy"), values)


WRONG = {
    "shape": np.ones((2, 4, 2), np.float32),
    "dimensions": np.ones((3, 4), np.float32),
    "type": np.ones((3, 4, 2)),
    "NaN": np.full((3, 4, 2), np.nan, np.float32),
    "infinite": np.array([np.inf, -np.inf] * 3, np.float32).reshape(3, 1, 2),
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_array_is_refused_in_one_line(tmp_path: Path, values: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=r"a\.npy.*delete it") as error:
        check(tmp_path / "a.npy")
    assert "\n" not in str(error.value)


def test_a_header_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 4, 2), np.float32))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"(3, 4, 2), }       ", b"(3, 4000000, 2), } "))
    with pytest.raises(InputError, match="damaged"):
        check(tmp_path / "a.npy")


def test_a_fifo_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(InputError, match="no such file"):
        check(tmp_path / "a.npy")


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[" * 100_000, b"\xff\n"], ids=range(4))
def test_a_damaged_list_of_clips_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jsonl is damaged") as error:
        read_clips(tmp_path / "a.jsonl", 1, "delete it")
    assert "\n" not in str(error.value)
