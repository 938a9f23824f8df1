"""Figures of the report on labels."""

from __future__ import annotations

import numpy as np

from data_pipeline.captions.labelling.report import Use


def test_use_is_measured() -> None:
    even, one = Use(np.array([5, 5, 5, 5])), Use(np.array([20, 0, 0, 0]))
    assert (even.coverage, even.entropy) == (1.0, 2.0)
    assert (one.coverage, one.entropy, one.top_share) == (0.25, 0.0, 1.0)
