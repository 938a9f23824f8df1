from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.evaluation.envelopes import loudness_envelope, mean_correlation


def test_an_envelope_is_the_level_of_tenths_of_a_second():
    audio = torch.cat(
        [torch.full((1, 1, 800), 0.1), torch.zeros(1, 1, 800), torch.full((1, 1, 850), -1.0)], dim=2
    )
    assert loudness_envelope(audio, 8000).tolist() == [pytest.approx([-20, -80, 0], abs=1e-4)]


def test_correlation_is_the_mean_over_pairs():
    rows = torch.tensor([[0.0, 1, 2, 3], [10, 20, 30, 40], [3, 2, 1, 0]])
    assert mean_correlation(rows) == pytest.approx((1 - 1 - 1) / 3)
    assert math.isnan(mean_correlation(rows[:1]))
    # Against the library, on noise.
    noise = torch.randn(5, 40, generator=torch.Generator().manual_seed(0))
    table = torch.corrcoef(noise)
    assert mean_correlation(noise) == pytest.approx(float((table.sum() - 5) / 20), abs=1e-5)
