from __future__ import annotations

import pytest
import torch

from lightning_n2m.audio.io import read
from lightning_n2m.audio.resample import resample
from lightning_n2m.evaluation.nearest_training_clip import (
    TrainingIndex,
    calibrate_threshold,
    correlation,
    find_matches,
)
from tests.paths import CLIPS


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_correlation_finds_an_excerpt_wherever_it_lies():
    whole = noise(5000)
    assert correlation(whole[1234:3234], whole) == pytest.approx(1, abs=1e-5)
    assert correlation(-0.1 * whole[1234:3234], whole) == pytest.approx(1, abs=1e-5)
    assert correlation(noise(2000, seed=1), whole) < 0.12
    noisy = whole[1234:3234] + noise(2000, seed=2)
    assert correlation(noisy, whole) == pytest.approx(2**-0.5, abs=0.05)


def test_similarity_compares_patches_in_order():
    patches = noise(20, 10, 16)
    index = TrainingIndex(patches)
    excerpt = patches[7:8, 4:6]
    similarities = index.similarities(excerpt)
    assert similarities.argmax() == 7
    assert similarities[0, 7] == pytest.approx(1, abs=1e-5)
    # The same two patches in reverse order are another excerpt.
    assert index.similarities(excerpt.flip(1))[0, 7] < 0.8


def test_the_nearest_clip_by_embedding_and_by_waveform():
    patches, audio = noise(20, 10, 16), noise(20, 4000, seed=1)
    matches = find_matches(
        [patches[7:8, 4:6], noise(1, 2, 16, seed=3)],
        [audio[7, 500:1500], noise(1000, seed=4)],
        TrainingIndex(patches),
        lambda numbers: {number: audio[number] for number in numbers},
    )
    assert (matches[0].nearest, matches[0].waveform_nearest) == (7, 7)
    assert matches[0].embedding > 0.99
    assert matches[0].waveform > 0.99
    assert matches[1].embedding < 0.7
    assert matches[1].waveform < 0.2


def test_a_threshold_lies_between_held_out_recordings_and_duplicates():
    result = calibrate_threshold(torch.tensor([0.1, 0.4, 0.5]), torch.tensor([0.9, 0.95, 1.0]))
    assert result.held_out == 0.5
    assert 0.5 < result.value < result.duplicates
    # Where they overlap, held-out recordings must not be flagged.
    assert calibrate_threshold(torch.tensor([0.8]), torch.tensor([0.7, 0.75])).value == pytest.approx(0.8)


def test_rendered_music_at_3200_hz_has_its_own_waveform():
    clips = {path.stem: read(path) for path in sorted(CLIPS.glob("*.ogg"))[:4]}
    low = {name: resample(clip.samples, clip.sample_rate, 3200)[0] for name, clip in clips.items()}
    names = list(low)
    for name in names:
        scores = {other: correlation(low[name][20_000:50_000], low[other]) for other in names}
        assert max(scores, key=scores.__getitem__) == name
        assert max(value for other, value in scores.items() if other != name) < 0.6
