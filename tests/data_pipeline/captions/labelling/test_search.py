"""Search equals a sort of all captions, in any blocks and precision."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_pipeline.captions.labelling.search import nearest, nearest_by_faiss, rounding
from lightning_n2m.errors import InputError


def unit(n: int, d: int = 16, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sorted_out(clips: np.ndarray, captions: np.ndarray, k: int) -> np.ndarray:
    """All cosines in float64, the same sum for the same pair, and a stable sort."""
    scores = np.array([[(clip.astype(float) * caption).sum() for caption in captions] for clip in clips])
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("coarse", ["float32", "bfloat16"])
@pytest.mark.parametrize(("rows", "columns"), [(1000, 1000), (3, 7), (1, 64), (5, 1)])
def test_it_is_exact_in_any_blocks_and_precision(coarse, rows: int, columns: int) -> None:
    clips, captions = unit(11), unit(300, seed=1)
    captions[40] = captions[7]  # Equal scores go by the number.
    pieces = [captions[:100], captions[100:101], captions[101:]]
    found = nearest(clips, pieces, 10, rows, columns, coarse)
    assert found.captions.tolist() == sorted_out(clips, captions, 10).tolist()
    assert found.scores[0, 0] == pytest.approx(float((clips @ captions.T).max(axis=1)[0]), abs=1e-6)


@pytest.mark.parametrize("coarse", ["float32", "bfloat16"])
def test_crowds_at_the_border_are_distinguished(coarse) -> None:
    """Captions so alike that half precision, and in part single precision, sees only one."""
    clips = unit(4, seed=2)
    near = clips[0] + 1e-4 * unit(500, seed=3)
    captions = np.concatenate([near, near[:50]]).astype(np.float32)
    captions /= np.linalg.norm(captions, axis=1, keepdims=True)
    found = nearest(clips, [captions], 10, coarse=coarse, columns=33)
    assert found.captions.tolist() == sorted_out(clips, captions, 10).tolist()


def test_faiss_finds_the_same() -> None:
    pytest.importorskip("faiss")
    clips = unit(6, seed=4)
    captions = np.concatenate([unit(400, seed=5), np.repeat(clips[:1], 60, axis=0)])
    found = nearest_by_faiss(clips, [captions[:150], captions[150:]], 10, spare=5)
    assert found.captions.tolist() == sorted_out(clips, captions, 10).tolist()


@given(st.integers(0, 10**6), st.sampled_from([16, 128, 512]))
def test_the_bound_on_rounding_holds(seed: int, dimension: int) -> None:
    import torch

    one, other = unit(20, dimension, seed), unit(20, dimension, seed + 1)
    exact = one.astype(float) @ other.T.astype(float)
    for coarse in ("float32", "bfloat16"):
        kind = getattr(torch, coarse)
        rough = (torch.from_numpy(one).to(kind) @ torch.from_numpy(other).to(kind).T).double().numpy()
        assert np.abs(rough - exact).max() <= rounding(dimension, coarse)


def test_a_vocabulary_smaller_than_k_is_refused() -> None:
    with pytest.raises(InputError, match="3 captions"):
        nearest(unit(2), [unit(3)], 10)
