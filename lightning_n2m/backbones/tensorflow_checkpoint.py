"""Reads the tensors of a TensorFlow V2 checkpoint with numpy alone.

Such a checkpoint is a pair of files: the index is a LevelDB table from a tensor's name to a
`BundleEntryProto` (type, shape, offset, size), the data file holds the raw little-endian numbers.
TensorFlow itself takes half a gigabyte and conflicts with this project's pinned packages.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_n2m.errors import InputError

_FOOTER = 48  # two block handles, padded, and the magic number of LevelDB tables
_MAGIC = 0xDB4775248B80FB57
_FLOAT = 1  # DT_FLOAT
# Fields of BundleEntryProto, and of the TensorShapeProto and its Dim inside.
_DTYPE, _SHAPE, _OFFSET, _SIZE = 1, 2, 4, 5
_DIM, _DIM_SIZE = 2, 1


def read_tensorflow_checkpoint(prefix: str | Path) -> dict[str, NDArray[np.float32]]:
    """All float32 tensors of a checkpoint of one data file.

    Args:
        prefix: What the two file names begin with, before ``.index`` and ``.data-00000-of-00001``.

    Returns:
        Arrays by the variables' names, in TensorFlow's layout.

    Raises:
        InputError: if a file is missing or is not such a checkpoint.
    """
    try:
        index = Path(f"{prefix}.index").read_bytes()
        data = Path(f"{prefix}.data-00000-of-00001").read_bytes()
    except OSError as error:
        raise InputError(f"The TensorFlow checkpoint {prefix} cannot be read ({error}).") from error
    try:
        return dict(_tensors(index, data))
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise InputError(
            f"{prefix}.index is damaged or not a TensorFlow checkpoint of one part ({error}); "
            "install its package again."
        ) from error


def _tensors(index: bytes, data: bytes) -> Iterator[tuple[str, NDArray[np.float32]]]:
    footer = index[-_FOOTER:]
    if struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("the magic number of a LevelDB table is missing")
    _, at = _varint(footer, 0)  # the handle of the meta index, which is empty
    _, at = _varint(footer, at)
    for _, handle in _block(index, *_handle(footer[at:])):
        for name, value in _block(index, *_handle(handle)):
            entry = _message(value)
            if not name or _number(entry, _DTYPE) != _FLOAT:  # the nameless entry describes the bundle
                continue
            shape = [
                _number(_message(dim), _DIM_SIZE) for dim in _parts(_message(_bytes(entry, _SHAPE)), _DIM)
            ]
            start, size = _number(entry, _OFFSET), _number(entry, _SIZE)
            if start + size > len(data):
                raise ValueError(f"the data file ends before {name.decode()}")
            yield name.decode(), np.frombuffer(data[start : start + size], "<f4").reshape(shape).copy()


def _handle(at: bytes) -> tuple[int, int]:
    """Offset and size of a block."""
    offset, end = _varint(at, 0)
    return offset, _varint(at, end)[0]


def _block(table: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a block; each key is stored as its difference from the previous one."""
    if table[offset + size]:
        raise ValueError("its blocks are compressed")
    block = table[offset : offset + size]
    restarts = struct.unpack("<I", block[-4:])[0]
    at, end, key = 0, len(block) - 4 * (restarts + 1), b""
    while at < end:
        shared, at = _varint(block, at)
        fresh, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        at += fresh
        yield key, block[at : at + length]
        at += length


Fields = dict[int, list["int | bytes"]]


def _message(data: bytes) -> Fields:
    """The fields of a protocol buffer, by number: integers and bytes."""
    at, fields = 0, Fields()
    while at < len(data):
        tag, at = _varint(data, at)
        value: int | bytes
        match tag & 7:
            case 0:
                value, at = _varint(data, at)
            case 2:
                length, at = _varint(data, at)
                value, at = data[at : at + length], at + length
            case 1 | 5 as kind:
                length = 8 if kind == 1 else 4
                value, at = data[at : at + length], at + length
            case kind:
                raise ValueError(f"a field of the unknown kind {kind}")
        fields.setdefault(tag >> 3, []).append(value)
    return fields


def _number(fields: Fields, field: int) -> int:
    """An integer; protocol buffers omit fields that are zero."""
    value = fields.get(field, [0])[0]
    if not isinstance(value, int):
        raise ValueError(f"field {field} is not an integer")
    return value


def _bytes(fields: Fields, field: int) -> bytes:
    return next(iter(_parts(fields, field)), b"")


def _parts(fields: Fields, field: int) -> list[bytes]:
    return [value for value in fields.get(field, []) if isinstance(value, bytes)]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """An integer of seven bits a byte, lowest first, and the position after it."""
    shift = value = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
