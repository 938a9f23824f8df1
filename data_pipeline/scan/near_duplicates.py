"""Copies of one recording in other encodings, found by their acoustic signatures."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

DIFFERENT = 0.15  # Share of bits by which two copies may differ; unrelated tracks differ in a half.
_KEYS = 21  # Parts of a signature of which two copies must have one in common: 24 bits each.
_NEIGHBOURS = 200  # Entries of one key that each is compared with, at most: silence has but one key.
_BLOCK = 1 << 16
# A sound that never changes, and one that is too short, has few bits set: its signature says nothing.
_FEWEST_BITS = 64


def near_duplicates(signatures: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, int]]:
    """Pairs of tracks of which one is a copy of the other.

    Comparing all with all would take the square of their number. Two signatures that differ in some of
    512 bits almost surely have one of 21 pieces of 24 bits in common; so entries are distributed by
    pieces over files on disk, and only those in one file are compared. Memory holds one such file
    at a time: 1/256 of one of 21 pieces.

    Args:
        signatures: Number and signature of each track.

    Yields:
        The numbers of two tracks, possibly the same pair more than once.
    """
    import numpy as np

    entry = np.dtype([("number", "<i8"), ("bits", "u1", 64)])
    with tempfile.TemporaryDirectory(prefix="n2m-duplicates-") as folder:
        for block in _blocks(signatures, entry):
            for key in range(_KEYS):
                # Buckets by the first byte of the piece.
                first = block["bits"][:, 3 * key]
                order = np.argsort(first, kind="stable")
                cuts = np.searchsorted(first[order], np.arange(257))
                for bucket in range(256):
                    rows = block[order[cuts[bucket] : cuts[bucket + 1]]]
                    if len(rows):
                        with open(Path(folder, f"{key}-{bucket}"), "ab") as file:
                            file.write(rows.tobytes())
        for path in sorted(Path(folder).iterdir()):
            yield from _close_pairs(np.fromfile(path, entry), key=int(path.name.partition("-")[0]))


def _blocks(signatures: Iterable[tuple[int, bytes]], entry: numpy.dtype) -> Iterator[numpy.ndarray]:
    import numpy as np

    rows: list[tuple[int, numpy.ndarray]] = []
    for number, bits in signatures:
        if int.from_bytes(bits).bit_count() < _FEWEST_BITS:
            continue
        rows.append((number, np.frombuffer(bits, np.uint8)))
        if len(rows) == _BLOCK:
            yield np.array(rows, entry)
            rows = []
    if rows:
        yield np.array(rows, entry)


def _close_pairs(rows: numpy.ndarray, key: int) -> Iterator[tuple[int, int]]:
    """Pairs of entries with one piece in common that differ in few bits."""
    import numpy as np

    place_values = np.array([1 << 16, 1 << 8, 1], np.uint32)
    piece = rows["bits"][:, 3 * key : 3 * key + 3].astype(np.uint32) @ place_values
    order = np.lexsort((rows["number"], piece))
    rows, piece = rows[order], piece[order]
    bits = np.ascontiguousarray(rows["bits"]).view(np.uint64)
    # Equal pieces are neighbours now: compare each entry with the next, the one after that, and so on.
    for step in range(1, min(_NEIGHBOURS, len(rows))):
        same = np.flatnonzero(piece[step:] == piece[:-step])
        if not len(same):
            return
        differing = np.bitwise_count(bits[same] ^ bits[same + step]).sum(axis=1)
        for index in same[differing <= DIFFERENT * 512]:
            yield int(rows["number"][index]), int(rows["number"][index + step])
