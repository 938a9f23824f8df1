"""Derived arrays whose headers state more than they hold are refused."""

from __future__ import annotations

import tracemalloc

import pytest
import torch

from lightning_n2m.data.derived_audio import derived_shape, from_bytes, to_bytes


def array(shape, dtype="<i2", fortran=False, data=b"\0" * 64, version=(1, 0)) -> bytes:
    text = repr({"descr": dtype, "fortran_order": fortran, "shape": shape}).encode() + b"\n"
    width = 2 if version == (1, 0) else 4
    return b"\x93NUMPY" + bytes(version) + len(text).to_bytes(width, "little") + text + data


@pytest.mark.parametrize(
    "data",
    [
        array((10**12, 1)), array((32, 2)), array((33, 1)), array((0, 1)), array((-32, -1)), array((32,)),
        array((16, 1, 2)), array((32, 1), fortran=True), array((16, 1), "<f4"), array((64, 1), "|u1"),
        array((8, 1), "|O"), array((32, 1), version=(2, 0)), array((32, 1), data=b""), b"\x93NUMPY",
        b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65_535, b"\x93NUMPY\x01\x00\x10\x00" + b"{'descr': 'O'   ",
    ],
)  # fmt: skip
def test_an_array_whose_header_does_not_fit_is_refused(data):
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"^(?!.*pickle)"):
        from_bytes(data, 0, 16, channels=1)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_derived_clip_is_read_in_steps_and_channels():
    values = torch.linspace(-1.5, 1.5, 60).reshape(3, 20)
    data = to_bytes(values)
    assert derived_shape(data) == (20, 3)
    assert torch.allclose(from_bytes(data, 4, 7, channels=3), values[:, 4:11], atol=1e-4)
    with pytest.raises(ValueError, match="3 channels, but 1"):
        from_bytes(data, 0, 1, channels=1)
