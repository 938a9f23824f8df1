"""The nearest captions of each clip: exact, in blocks of bounded memory.

Products are computed in low precision first, block by block. Candidates that a strict bound on the rounding
error cannot exclude are scored again in float64, row by row; equal scores are ordered by the number of the
caption. So the result does not depend on blocks, threads, precision or machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_n2m.errors import InputError

Vectors = NDArray[np.float32]
Coarse = Literal["float32", "bfloat16"]
CLIPS, CAPTIONS = 1024, 2048  # Rows and columns of a block of scores.
_GROUP = 64
_POOL = 512  # Candidates of a clip, on average, at which the pool is pruned.
_Candidates = tuple[Tensor, Tensor, Tensor]  # Rows, columns and coarse scores of candidates.


@dataclass(frozen=True)
class Nearest:
    """Numbers of the nearest captions, nearest first, and their cosines; both ``(clips, k)``."""

    captions: NDArray[np.int32]
    scores: NDArray[np.float64]


def fastest_coarse() -> Coarse:
    """Half precision where the processor multiplies matrices in it."""
    return "bfloat16" if torch.cpu._is_amx_tile_supported() else "float32"


def rounding(dimension: int, coarse: Coarse) -> float:
    """Bound on the error of a product of unit vectors in low precision.

    By the inequality of Cauchy and Schwarz, the products of the absolute values sum to 1 at most, so each
    relative error counts once: for bfloat16 two factors (2^-9 each) and the result, for float32 the
    sum over the dimension. A tenth is added for vectors that are a little longer than 1.
    """
    return 1.1 * (3 * 2**-9 if coarse == "bfloat16" else 0) + 1.1 * (dimension + 2) * 2**-24


def nearest(
    clips: Vectors,
    captions: Sequence[Vectors],
    k: int,
    rows: int = CLIPS,
    columns: int = CAPTIONS,
    coarse: Coarse | None = None,
) -> Nearest:
    """Find the k captions of the largest cosine for each clip.

    Args:
        clips: Unit vectors ``(clips, d)``.
        captions: Unit vectors ``(captions, d)``, in pieces of any length.
        k: Number of captions for each clip.
        rows: Clips of a block.
        columns: Captions of a block.
        coarse: Precision of the first pass; the fastest when none is given. The result is the same.

    Raises:
        InputError: if there are fewer captions than k.
    """
    total = sum(len(part) for part in captions)
    if total < k:
        raise InputError(
            f"The vocabulary holds {total} captions, fewer than the {k} nearest; give more, or a smaller "
            "--top."
        )
    coarse = coarse or fastest_coarse()
    starts = range(0, len(clips), rows)
    blocks = [
        _block(np.asarray(clips[start : start + rows]), captions, k, columns, coarse) for start in starts
    ]
    return Nearest(
        np.concatenate([part.captions for part in blocks] or [np.zeros((0, k), np.int32)]),
        np.concatenate([part.scores for part in blocks] or [np.zeros((0, k))]),
    )


def _block(clips: Vectors, captions: Sequence[Vectors], k: int, columns: int, coarse: Coarse) -> Nearest:
    """The nearest captions of a block of clips."""
    kind = getattr(torch, coarse)
    left = torch.from_numpy(clips).to(kind)
    slack = 2 * rounding(clips.shape[1], coarse)
    best = torch.full((len(clips), k), -torch.inf)  # The k largest coarse scores so far.
    pool: list[_Candidates] = []
    pooled = offset = 0
    for part in captions:
        for start in range(0, len(part), columns):
            right = torch.from_numpy(np.array(part[start : start + columns])).to(kind)
            scores = right @ left.T
            first = not pool and len(scores) >= k
            if first:  # Else every score of the first block would pass.
                best = scores.T.topk(k, dim=1).values.float()
            # Rounded down, so that a bound in the scores' own precision is never too strict.
            bound = torch.nextafter((best[:, -1] - slack).to(kind), torch.tensor(-torch.inf, dtype=kind))
            row, column = _at_least(scores, bound)
            if len(row):
                value = scores[column, row].float()
                pool.append((row, column + (offset + start), value))
                pooled += len(row)
                best = best if first else _merged(best, row, value)
                if pooled > _POOL * len(clips):
                    pool = [_pruned(pool, best, slack)]
                    pooled = len(pool[0][0])
        offset += len(part)
    row, column, _ = _pruned(pool, best, slack)
    return _rescored(clips, captions, row.numpy(), column.numpy(), k)


def _pruned(pool: Sequence[_Candidates], best: Tensor, slack: float) -> _Candidates:
    """Candidates that can still be among the nearest: the bound has risen since most were added."""
    row, column, value = (torch.cat(part) for part in zip(*pool, strict=True))
    kept = value >= best[row, -1] - slack
    return row[kept], column[kept], value[kept]


def _at_least(scores: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns of clips and captions whose scores ``(captions, clips)`` reach the bound ``(clips,)``.

    Most groups of captions are ruled out by their largest score: one pass over memory instead of three.

    Returns:
        Clips, in ascending order, and captions.
    """
    if lacking := -len(scores) % _GROUP:
        scores = torch.nn.functional.pad(scores, (0, 0, 0, lacking), value=-torch.inf)
    groups = scores.unflatten(0, (-1, _GROUP))
    group, hit = torch.nonzero(groups.amax(dim=1) >= bound, as_tuple=True)
    place, column = torch.nonzero(groups[group, :, hit] >= bound[hit, None], as_tuple=True)
    row, column = hit[place], column + group[place] * _GROUP
    inside = column < len(scores) - lacking  # While there is no bound yet, the filling passes too.
    row, order = row[inside].sort(stable=True)
    return row, column[inside][order]


def _merged(best: Tensor, row: Tensor, value: Tensor) -> Tensor:
    """The k largest of the scores so far and new ones, whose rows are in ascending order."""
    counts = torch.bincount(row, minlength=len(best))
    position = torch.arange(len(row)) - (counts.cumsum(0) - counts)[row]
    wide = torch.full((len(best), int(counts.max())), -torch.inf)
    wide[row, position] = value
    return torch.cat([best, wide], dim=1).topk(best.shape[1], dim=1).values


def _rescored(
    clips: Vectors,
    captions: Sequence[Vectors],
    row: NDArray[np.int64],
    column: NDArray[np.int64],
    k: int,
    at_once: int = 1 << 14,
) -> Nearest:
    """Score candidates exactly and keep the k best of each row, which come in any order."""
    ends = np.cumsum([len(part) for part in captions])
    exact = np.empty(len(row))
    order = np.argsort(column, kind="stable")  # Pages of the files are then read in a row.
    for start in range(0, len(row), at_once):
        chosen = order[start : start + at_once]
        pieces = np.searchsorted(ends, column[chosen], side="right")
        for piece in np.unique(pieces):
            inside = chosen[pieces == piece]
            vectors = captions[piece][column[inside] - (ends[piece] - len(captions[piece]))]
            # Row by row: a matrix product would depend, in its last bits, on how many rows there are.
            exact[inside] = (clips[row[inside]].astype(np.float64) * vectors).sum(axis=1)
    ranked = np.lexsort((column, -exact, row))
    counts = np.bincount(row, minlength=len(clips))
    firsts = np.cumsum(counts) - counts
    chosen = ranked[(firsts[:, None] + np.arange(k)).ravel()].reshape(len(clips), k)
    return Nearest(column[chosen].astype(np.int32), exact[chosen])


def nearest_by_faiss(clips: Vectors, captions: Sequence[Vectors], k: int, spare: int = 32) -> Nearest:
    """The same result by FAISS's exact index, for instance on a GPU.

    FAISS may miss a caption where more captions than were requested have a score within the rounding error
    of the k-th; those clips are searched again by `nearest`.

    Raises:
        InputError: if the package is missing.
    """
    try:
        import faiss
    except ImportError as error:
        raise InputError(
            "--search faiss needs the package faiss-cpu: pip install 'lightning_n2m[faiss]', or leave it out."
        ) from error
    total, dimension = sum(len(part) for part in captions), clips.shape[1]
    index = faiss.IndexFlatIP(dimension)
    for part in captions:
        index.add(np.ascontiguousarray(part))
    requested = min(total, k + spare)
    scores, columns = index.search(np.ascontiguousarray(clips), requested)
    row = np.repeat(np.arange(len(clips)), requested)
    result = _rescored(clips, captions, row, columns.ravel().astype(np.int64), k)
    unsure = scores[:, -1] >= scores[:, k - 1] - 2 * rounding(dimension, "float32")
    again = np.flatnonzero(unsure) if requested < total else np.zeros(0, np.int64)
    if len(again):
        better = nearest(clips[again], captions, k)
        result.captions[again], result.scores[again] = better.captions, better.scores
    return result
