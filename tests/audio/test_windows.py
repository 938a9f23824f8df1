from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lightning_n2m.audio.windows import fade, overlapped, window_starts
from lightning_n2m.errors import InputError


@st.composite
def combinations(draw):
    """Length, window, overlap and grid, such that windows can advance on the grid."""
    multiple = draw(st.integers(1, 16))
    window = draw(st.integers(multiple, 12 * multiple))
    overlap = draw(st.integers(0, window - 1))
    assume(window - overlap >= multiple)
    return draw(st.integers(1, 400)), window, overlap, multiple


@given(combinations())
def test_the_identity_returns_the_input(combination):
    length = combination[0]
    x = torch.randn(2, 3, length, generator=torch.Generator().manual_seed(length))
    torch.testing.assert_close(overlapped(lambda a, b: x[..., a:b], *combination), x)


@given(combinations())
def test_windows_start_on_the_grid_and_overlap_enough(combination):
    length, window, overlap, multiple = combination
    starts = window_starts(*combination)
    assert starts[0] == 0
    assert all(start % multiple == 0 for start in starts)
    assert all(0 < after - before <= window - overlap for before, after in itertools.pairwise(starts))
    assert starts[-1] < length <= starts[-1] + max(window, length - starts[-1])


@given(combinations())
def test_the_last_window_is_shorter_by_less_than_the_grid(combination):
    length, window, _, multiple = combination
    calls = []
    overlapped(lambda a, b: calls.append((a, b)) or torch.zeros(1, 1, b - a), *combination)
    assert all(b - a == min(window, length) for a, b in calls[:-1])
    assert min(window, length) - multiple < calls[-1][1] - calls[-1][0] <= max(window, length)
    assert calls[-1][1] == length


@given(combinations())
def test_there_are_no_more_windows_than_needed(combination):
    length, window, overlap, multiple = combination
    advance = (window - overlap) // multiple * multiple
    assert len(window_starts(*combination)) <= 1 + -(-max(0, length - window) // advance)


def test_a_short_signal_is_one_window():
    assert overlapped(lambda a, b: torch.arange(a, b)[None, None], 5, 10, 3).tolist() == [[[0, 1, 2, 3, 4]]]


def test_different_windows_are_cross_faded_without_a_step():
    answers = iter([0.0, 1.0])
    blended = overlapped(lambda a, b: torch.full((1, 1, b - a), next(answers)), 160, 100, 40)[0, 0]
    assert (blended[:60] == 0).all()
    assert (blended[100:] == 1).all()
    torch.testing.assert_close(blended[60:100], (torch.arange(40) + 0.5) / 40)


def test_weights_fade_over_the_overlap_and_are_never_zero():
    weight = fade(8, 2)
    assert weight.tolist() == [0.25, 0.75, 1, 1, 1, 1, 0.75, 0.25]
    assert (fade(10, 9) > 0).all()


@pytest.mark.parametrize(("window", "overlap", "multiple"), [(10, 10, 1), (10, 12, 1), (10, 4, 8)])
def test_windows_that_cannot_advance_are_refused(window, overlap, multiple):
    with pytest.raises(InputError, match=f"overlap by {overlap}"):
        window_starts(100, window, overlap, multiple)
