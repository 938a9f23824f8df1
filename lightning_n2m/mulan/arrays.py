"""Arrays and clip lists on disk that may be damaged or come from strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lightning_n2m.data.schema import Clip
from lightning_n2m.errors import InputError

_CHUNK = 1 << 22  # Numbers that are checked at a time.


def map_array(path: Path, dtype: DTypeLike, shape: tuple[int | None, ...], remedy: str) -> NDArray[Any]:
    """Map an ``.npy`` file into memory, and check everything that its header claims.

    Args:
        path: The file.
        dtype: Type of its numbers.
        shape: Its shape; None stands for any length.
        remedy: What to do if it is damaged, for the message.

    Returns:
        The array, read-only; all of its numbers are finite.

    Raises:
        InputError: if it is missing, no regular file, damaged, of another type or shape, or holds numbers
            that are NaN or infinite.
    """
    try:
        if not path.is_file():
            raise ValueError("no such file")
        # Pickled objects are refused, and an array that is larger than the file cannot be mapped.
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy parses the header as Python: errors of any kind.
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise InputError(f"{path} is damaged ({reason[:200]}); {remedy}.") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path} is an archive instead of an array; {remedy}.")
    matches = array.dtype == dtype and array.ndim == len(shape)
    if not matches or any(want not in (None, have) for want, have in zip(shape, array.shape, strict=True)):
        wanted = " x ".join("n" if length is None else str(length) for length in shape)
        present = " x ".join(map(str, array.shape))
        raise InputError(
            f"{path} holds {array.dtype} numbers of shape {present} instead of {np.dtype(dtype)} of shape "
            f"{wanted}; {remedy}."
        )
    if np.issubdtype(array.dtype, np.floating):
        flat = array.reshape(-1)
        # The sum of numbers is finite only if all of them are; it needs no temporary memory.
        for start in range(0, len(flat), _CHUNK):
            with np.errstate(invalid="ignore", over="ignore"):
                total = np.sum(flat[start : start + _CHUNK], dtype=np.float64)
            if np.isfinite(total):
                continue
            raise InputError(f"{path} holds numbers that are NaN or infinite; {remedy}.")
    return array


def read_clips(path: Path, count: int, remedy: str) -> list[Clip]:
    """The metadata of clips, from a file with one JSON object per line.

    Args:
        path: The file.
        count: Number of clips that it must hold.
        remedy: What to do if it is damaged, for the message.

    Raises:
        InputError: if it is missing, damaged, or holds another number of clips.
    """
    try:
        if not path.is_file():
            raise ValueError("no such file")
        clips = [Clip.from_json(line) for line in path.read_bytes().splitlines()]
        if len(clips) != count:
            raise ValueError(f"{len(clips)} clips instead of {count}")
    except (OSError, ValueError, InputError) as error:
        raise InputError(f"{path} is damaged ({str(error)[:200].rstrip('.')}); {remedy}.") from error
    return clips
