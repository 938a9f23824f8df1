"""Levels of the parts and of the mix."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.starter_corpus.mix import level, mix


def test_the_mix_brings_the_melody_forward_and_keeps_drums_in_range() -> None:
    rng = np.random.default_rng(0)
    lead, rest, drums = (rng.normal(size=48_000) * scale for scale in (0.001, 0.1, 0.9))
    energy = lambda samples: 10 * np.log10(np.mean(samples**2))  # noqa: E731
    mixed = mix(lead, rest, drums)
    # Rest 0 dB, lead +1 dB, drums -1 dB of the rest: independent noises add up in energy.
    assert energy(mixed) - energy(rest) == pytest.approx(10 * np.log10(1 + 10**0.1 + 10**-0.1), abs=0.1)
    assert np.array_equal(mix(lead, 0 * rest, 0 * drums), lead)


@pytest.mark.parametrize("crest", [1, 10, 40])
def test_loudness_is_even_and_nothing_clips(crest: int) -> None:
    samples = np.random.default_rng(0).normal(size=240_000) * 0.01
    samples[::6000] *= crest
    levelled = level(samples)
    assert 10 * np.log10(np.mean(levelled**2)) == pytest.approx(-18, abs=0.3)
    assert np.abs(levelled).max() < 10 ** (-1 / 20)
    with pytest.raises(RuntimeError, match="silent"):
        level(0 * samples)
