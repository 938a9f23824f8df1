"""Figures of clips that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data_pipeline.__main__ import main
from data_pipeline.shards.shard_stats import bandwidth


@pytest.mark.parametrize(("edge", "expected"), [(3000, 3.0), (7900, 8.0), (11_000, 11.0)])
def test_where_the_spectrum_ends(edge: int, expected: float) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(0).normal(size=24_000 * 4))
    spectrum[4 * edge :] = 0
    samples = torch.from_numpy(np.fft.irfft(spectrum)).float()
    assert bandwidth(samples, 24_000) == pytest.approx(expected, abs=0.5)


def test_stats_of_one_clip_by_hand(tmp_path: Path) -> None:
    """A square wave at half of full scale: its RMS level is its peak, -6 dB."""
    (tmp_path / "music").mkdir()
    wave = 0.5 * np.sign(np.sin(2 * np.pi * 100.3 * np.arange(24_000 * 21) / 24_000))
    soundfile.write(tmp_path / "music/square.wav", wave, 24_000)
    main(["manifest", "--source", str(tmp_path / "music"), "--output", str(tmp_path / "m.jsonl")])
    cutting = ["--clip-seconds", "20", "--output", str(tmp_path / "s"), "--workers", "1"]
    main(["shard", "--manifest", str(tmp_path / "m.jsonl"), *cutting])
    main(["stats", "--shards", str(tmp_path / "s"), "--output", str(tmp_path / "page"), "--workers", "1"])
    figures = json.loads((tmp_path / "page/stats.json").read_text())
    assert (figures["levels"], figures["peaks"]) == ({"-6": 1}, {"-6": 1})
    assert figures["genres"] == {"(none)": 1}
