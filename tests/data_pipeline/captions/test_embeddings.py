"""Embeddings are checked before they are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_pipeline.captions.embeddings import write_vectors
from lightning_n2m.errors import InputError


def test_vectors_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    vectors = np.ones((3, 4), np.float32)
    vectors[1, 2] = np.nan
    with pytest.raises(InputError, match="clip b by towers is NaN or infinite"):
        write_vectors(tmp_path / "v.npy", vectors, ["clip a", "clip b", "clip c"], "towers")
    assert not list(tmp_path.iterdir())
