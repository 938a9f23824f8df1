from __future__ import annotations

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lightning_n2m.diffusion.steps import STEP_LISTS, step_times, times_at
from lightning_n2m.errors import InputError

# Table 7 of the paper: span of t and number of equal steps, from t = 0.
FRONT = [(0.05, 400), (0.15, 200), (0.30, 150), (0.50, 50)]
SPECTROGRAM_FRONT = [(0.01, 400), (0.04, 800), (0.15, 400), (0.30, 300), (0.50, 100)]
TABLE_7 = {
    "waveform_generator": [(0.01, 200), (0.04, 400), (0.15, 200), (0.30, 150), (0.50, 50)],
    "waveform_cascader": FRONT,
    "spectrogram_generator_front_heavy": SPECTROGRAM_FRONT,
    "spectrogram_generator_back_heavy": SPECTROGRAM_FRONT[::-1],
    "spectrogram_generator": [(0.30, 50), (0.30, 150), (0.20, 300), (0.20, 500)],
    "spectrogram_vocoder": [(0.05, 50), (0.15, 30), (0.30, 15), (0.50, 5)],
    "super_resolution": FRONT,
}
# Tables 3 and 7: steps in all.
TOTALS = {
    "waveform_generator": 1000,
    "waveform_cascader": 800,
    "spectrogram_generator_front_heavy": 2000,
    "spectrogram_generator_back_heavy": 2000,
    "spectrogram_generator": 1000,
    "spectrogram_vocoder": 100,
    "super_resolution": 800,
}


def test_every_row_of_table_7_exists():
    assert set(STEP_LISTS) == {*TABLE_7, "uniform"}


@pytest.mark.parametrize("name", TABLE_7)
def test_step_sizes_are_those_of_table_7(name):
    printed = [span / count for span, count in TABLE_7[name] for _ in range(count)]
    times = step_times(name)
    assert len(times) == TOTALS[name] + 1
    sizes = -times.diff().flip(0)
    torch.testing.assert_close(sizes, torch.tensor(printed, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", STEP_LISTS)
def test_reversed_lists_have_the_same_steps_in_reverse_order(name):
    torch.testing.assert_close(step_times(name, reverse=True), 1 - step_times(name).flip(0))


def test_uniform_steps_are_equal():
    torch.testing.assert_close(step_times("uniform", 8), torch.arange(8, -1, -1, dtype=torch.float64) / 8)


@given(name=st.sampled_from(list(STEP_LISTS)), total=st.integers(1, 3000), reverse=st.booleans())
def test_times_decrease_strictly_from_1_to_0(name, total, reverse):
    assume(total >= len(STEP_LISTS[name]))
    times = step_times(name, total, reverse)
    assert times.shape == (total + 1,)
    assert times.dtype == torch.float64
    assert times[0] == 1
    assert times[-1] == 0
    assert (times.diff() < 0).all()


@given(name=st.sampled_from(list(TABLE_7)), total=st.integers(5, 3000))
def test_segments_keep_their_share_of_any_total(name, total):
    segments = TABLE_7[name]
    rising = step_times(name, total).flip(0)
    start, counts = 0.0, []
    for span, _ in segments:
        counts.append(int(((rising > start + 1e-9) & (rising <= start + span + 1e-9)).sum()))
        start += span
    assert sum(counts) == total
    # One step to each segment first, the rest in proportion: within one of the exact share.
    spare = total - len(segments)
    for count, (_, printed) in zip(counts, segments, strict=True):
        assert abs(count - 1 - spare * (printed - 1) / (TOTALS[name] - len(segments))) < 1


@pytest.mark.parametrize("factor", [2, 3])
def test_a_multiple_of_the_papers_total_divides_each_step(factor):
    coarse = step_times("spectrogram_vocoder")
    fine = step_times("spectrogram_vocoder", 100 * factor)
    # Where a segment has few steps, "one to each first" gives or takes one.
    assert (fine[:, None] - coarse).abs().min(dim=0).values.max() < 0.03


def test_an_unknown_name_is_refused_with_the_known_names():
    with pytest.raises(InputError, match=r"no step list 'cosine'.*waveform_generator"):
        step_times("cosine")


@pytest.mark.parametrize(("name", "total"), [("waveform_generator", 4), ("uniform", 0), ("uniform", -3)])
def test_fewer_steps_than_segments_are_refused(name, total):
    with pytest.raises(InputError, match=f"at least .* steps, not {total}"):
        step_times(name, total)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("name", STEP_LISTS)
def test_the_times_of_the_papers_list_lie_at_equal_positions(name: str, reverse: bool) -> None:
    times = step_times(name, reverse=reverse)
    positions = torch.linspace(1, 0, len(times), dtype=torch.float64)
    torch.testing.assert_close(times_at(name, positions, reverse), times, atol=1e-12, rtol=0)
    assert times_at(name, torch.tensor([1.0, 0.0]), reverse).tolist() == [1.0, 0.0]


def test_positions_between_the_steps_are_interpolated() -> None:
    """Half of the 800 steps lie below 0.05, a quarter from there to 0.2."""
    positions = torch.tensor([0.25, 0.5, 0.625, 0.75])
    expected = torch.tensor([0.025, 0.05, 0.125, 0.2], dtype=torch.float64)
    torch.testing.assert_close(times_at("super_resolution", positions), expected)
