"""Token vectors of captions on disk, computed once before training (``python -m data_pipeline derive-text``).

A folder, by default ``text/`` beside the shards, holds::

    index.json                  the encoder: model, revision, max_tokens, dtype and width
    block-KEYS.safetensors      the vectors of up to `BLOCK` captions, named by a hash of their keys

A block repeats the encoder in its header and holds ``keys`` ``(n, 16)``, the truncated SHA-256 of each
caption; ``offsets`` ``(n + 1)``, its first row; and ``states`` ``(rows, width)``, token vectors in the
encoder's own precision. Storing them rounds nothing, so training has the same bits with and without them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_models import model_revision
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, join, names, open_read, read_bytes, size, write_atomic

INDEX, FORMAT = "index.json", 1
BLOCK = 1024  # Captions of a file: the unit of work. With T5-XXL in bfloat16 some 200 MB.
_MOST_HEADER = 1 << 20  # Bytes of a block's header.
_DTYPES = {"float32": ("F32", torch.float32), "bfloat16": ("BF16", torch.bfloat16)}
_REMEDY = "delete the folder and run 'python -m data_pipeline derive-text' again"


@dataclass(frozen=True)
class EncoderHeader:
    """What the vectors of a text depend on besides the text.

    Args:
        model: The encoder's name, for messages: one model may have different paths on two machines.
        revision: Version of its weights and tokenizer.
        max_tokens: Length at which texts are cut.
        dtype: Precision.
    """

    model: str
    revision: str
    max_tokens: int
    dtype: str

    @staticmethod
    def of(encoder: TextEncoder) -> EncoderHeader:
        """The header of an encoder; loads no weights.

        Raises:
            InputError: if the model is not on this machine.
        """
        return EncoderHeader(encoder.model, model_revision(encoder.model), encoder.max_tokens, encoder.dtype)

    def matches(self, other: EncoderHeader) -> bool:
        """Whether both encoders compute the same vectors."""
        return dataclasses.replace(self, model="") == dataclasses.replace(other, model="")

    def __str__(self) -> str:
        return f"{self.model} (revision {self.revision}, {self.max_tokens} tokens, {self.dtype})"


def caption_key(text: str) -> bytes:
    """The 16 bytes under which the vectors of a caption are stored."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16]


@dataclass(frozen=True)
class _Block:
    """A file of vectors: where the rows begin in it, their width, and the captions in it."""

    place: Location
    start: int
    width: int
    keys: NDArray[np.uint64]
    offsets: NDArray[np.int64]


class StoredTextVectors:
    """The vectors of a folder.

    Only keys and positions are held in memory, 32 bytes a caption; vectors are read when they are needed.

    Args:
        folder: A path or a URL.
        encoder: The encoder that the vectors stand in for; None to accept any.

    Raises:
        InputError: if the folder is damaged, or its vectors are of another encoder, revision, token count or
            precision.
    """

    def __init__(self, folder: Location, encoder: EncoderHeader | None = None) -> None:
        self.folder, self.header = folder, _read_index(folder)
        if encoder is not None and not self.header.matches(encoder):
            raise InputError(
                f"{folder} holds text vectors of {self.header}, but the recipe's encoder is {encoder}; run "
                "'python -m data_pipeline derive-text' with another --name, or set data.text_vectors to null."
            )
        self._blocks = [
            _read_block(join(folder, name), self.header)
            for name in names(folder)
            if name.startswith("block-") and name.endswith(".safetensors")
        ]
        counts = [len(block.keys) for block in self._blocks]
        keys = np.concatenate([block.keys for block in self._blocks] or [np.zeros((0, 2), np.uint64)])
        order = np.argsort(keys[:, 0], kind="stable")
        self._keys = keys[order]
        self._block = np.repeat(np.arange(len(counts), dtype=np.int32), counts)[order]
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        self._row = (np.arange(len(keys)) - firsts)[order]

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, text: str) -> bool:
        return self._find(text) is not None

    def read(self, text: str) -> Tensor | None:
        """Token vectors ``(n, width)`` of a text; None where it is unknown.

        Raises:
            InputError: if the file has changed, or its vectors are NaN or infinite.
        """
        position = self._find(text)
        if position is None:
            return None
        block, row = self._blocks[self._block[position]], int(self._row[position])
        first, last = (int(block.offsets[row + step]) for step in (0, 1))
        dtype = _DTYPES[self.header.dtype][1]
        row_bytes = block.width * dtype.itemsize
        try:
            with open_read(block.place) as file:
                file.seek(block.start + first * row_bytes)
                data = bytearray(file.read((last - first) * row_bytes))
        except OSError as error:
            raise InputError(f"{block.place} cannot be read ({error.strerror}); {_REMEDY}.") from error
        if len(data) != (last - first) * row_bytes:
            raise InputError(f"{block.place} is cut short; {_REMEDY}.")
        states = torch.frombuffer(data, dtype=dtype).view(last - first, block.width)
        if not states.isfinite().all():
            raise InputError(f"{block.place} holds vectors that are NaN or infinite; {_REMEDY}.")
        return states

    def _find(self, text: str) -> int | None:
        first, second = np.frombuffer(caption_key(text), np.uint64)
        position = int(np.searchsorted(self._keys[:, 0], first))
        while position < len(self._keys) and self._keys[position, 0] == first:
            if self._keys[position, 1] == second:
                return position
            position += 1
        return None


class SeveralTextVectors:
    """The vectors of several folders, looked up one after the other.

    Args:
        parts: The folders.
    """

    def __init__(self, parts: Sequence[StoredTextVectors]) -> None:
        self.parts = list(parts)

    def read(self, text: str) -> Tensor | None:
        """Token vectors ``(n, width)`` of a text; None where no folder has them."""
        rows = (part.read(text) for part in self.parts)
        return next((row for row in rows if row is not None), None)


def open_text_vectors(folders: Sequence[Location], encoder: TextEncoder) -> SeveralTextVectors | None:
    """The vectors of those folders that hold any, for an encoder; None where no folder does.

    Raises:
        InputError: if a folder is damaged, or holds vectors of another encoder.
    """
    present = [folder for folder in folders if size(join(folder, INDEX)) is not None]
    if not present:
        return None
    header = EncoderHeader.of(encoder)
    return SeveralTextVectors([StoredTextVectors(folder, header) for folder in present])


def write_index(folder: Location, header: EncoderHeader) -> None:
    """Begin a folder of vectors."""
    values = {"format": FORMAT, **dataclasses.asdict(header)}
    write_atomic(join(folder, INDEX), json.dumps(values, indent=1) + "\n")


def write_block(folder: Location, header: EncoderHeader, vectors: dict[str, Tensor]) -> None:
    """Write the vectors of some captions; the file appears under its name when it is complete.

    Args:
        folder: Where to.
        header: The encoder.
        vectors: Token vectors ``(n, width)`` by caption, in the encoder's precision.
    """
    from safetensors.torch import save

    keys = {caption_key(text): states for text, states in vectors.items()}
    ordered = sorted(keys)
    lengths = torch.tensor([0, *(len(keys[key]) for key in ordered)])
    tensors = {
        "keys": torch.frombuffer(bytearray(b"".join(ordered)), dtype=torch.uint8).view(-1, 16),
        "offsets": lengths.cumsum(0),
        "states": torch.cat([keys[key] for key in ordered]).contiguous(),
    }
    name = hashlib.sha256(b"".join(ordered)).hexdigest()[:20]
    write_atomic(join(folder, f"block-{name}.safetensors"), save(tensors, _metadata(header)))


def _metadata(header: EncoderHeader) -> dict[str, str]:
    """The header of a block: one entry, since safetensors writes several in a random order."""
    return {"encoder": json.dumps(dataclasses.asdict(header))}


def _read_index(folder: Location) -> EncoderHeader:
    path = join(folder, INDEX)
    try:
        if (size(path) or 0) > _MOST_HEADER:
            raise ValueError("too large")
        values = json.loads(read_bytes(path))
        if values.pop("format") != FORMAT:
            raise ValueError("of another format")
        header = EncoderHeader(**values)
        kinds = [type(value) for value in dataclasses.astuple(header)]
        if kinds != [str, str, int, str] or header.dtype not in _DTYPES:
            raise ValueError("wrong types")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); {_REMEDY}.") from error
    return header


def _read_block(place: Location, header: EncoderHeader) -> _Block:
    """Read and check everything of a block but its vectors."""
    try:
        total = size(place)
        with open_read(place) as file:
            length = int.from_bytes(file.read(8), "little")
            if total is None or not 2 <= length <= min(_MOST_HEADER, total - 8):
                raise ValueError("its header is larger than the file")
            fields = json.loads(file.read(length))
            written = fields.pop("__metadata__")
            if written != _metadata(header):
                raise ValueError("it is of another encoder than its folder")
            _check_layout(fields, header, total - 8 - length)
            start = 8 + length
            parts = {}
            for name in ("keys", "offsets"):
                first, last = fields[name]["data_offsets"]
                file.seek(start + first)
                parts[name] = file.read(last - first)
        keys = np.frombuffer(parts["keys"], np.uint64).reshape(-1, 2)
        offsets = np.frombuffer(parts["offsets"], np.int64)
        rows, width = fields["states"]["shape"]
        lengths = np.diff(offsets)
        if offsets[0] != 0 or offsets[-1] != rows or not (lengths > 0).all():
            raise ValueError("its offsets do not match")
        if (lengths > header.max_tokens).any():
            raise ValueError("a text has too many tokens")
        return _Block(place, start + fields["states"]["data_offsets"][0], width, keys, offsets)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise InputError(f"{place} is damaged ({reason}); {_REMEDY}.") from error


def _check_layout(fields: dict[str, Any], header: EncoderHeader, available: int) -> None:
    """Compare the shapes, types and places of a block's tensors with each other and with the file's size."""
    count, rows = fields["keys"]["shape"][0], fields["states"]["shape"][0]
    kinds = {
        "keys": ("U8", 1, [count, 16]),
        "offsets": ("I64", 8, [count + 1]),
        "states": (_DTYPES[header.dtype][0], _DTYPES[header.dtype][1].itemsize, [rows, None]),
    }
    if fields.keys() != kinds.keys():
        raise ValueError("it holds other tensors")
    for name, (dtype, itemsize, expected) in kinds.items():
        shape, (first, last) = fields[name]["shape"], fields[name]["data_offsets"]
        if not all(type(number) is int and number >= 0 for number in (*shape, first, last)):
            raise ValueError("its shapes are not whole numbers")
        same = len(shape) == len(expected) and all(
            e in (None, s) for s, e in zip(shape, expected, strict=True)
        )
        if fields[name]["dtype"] != dtype or not same or count < 1:
            raise ValueError(f"its {name} have another type")
        if last - first != math.prod(shape) * itemsize or last > available:
            raise ValueError(f"its {name} do not fit into the file")
