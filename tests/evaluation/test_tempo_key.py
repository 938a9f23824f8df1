from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from lightning_n2m.audio.io import read
from lightning_n2m.audio.resample import resample
from lightning_n2m.conditioning.key import best_key
from lightning_n2m.conditioning.numbers import TONICS
from lightning_n2m.evaluation.reference_embeddings import middle
from lightning_n2m.evaluation.tempo_key import kept_keys, key, same_key, same_tempo, tempo
from tests.paths import CLIPS

TRUTH = {
    row["path"]: row["truth"] for row in map(json.loads, (CLIPS / "metadata.jsonl").read_text().splitlines())
}


@pytest.mark.parametrize(
    ("estimate", "requested", "same"),
    [(120, 120, True), (129, 120, True), (130.5, 120, False), (60, 120, True), (240, 120, True),
     (40, 120, True), (360, 120, True), (90, 120, False), (80, 120, False), (0, 120, False)],
)  # fmt: skip
def test_tempos_agree_within_a_tolerance_and_octaves(estimate, requested, same):
    assert same_tempo(estimate, requested) is same


@pytest.mark.parametrize("tonic", range(12))
@pytest.mark.parametrize(
    ("mode", "scale"), [("major", (0, 2, 4, 5, 7, 9, 11)), ("minor", (0, 2, 3, 5, 7, 8, 11))]
)
def test_a_scale_with_a_strong_triad_has_its_key(tonic, mode, scale):
    chroma = np.zeros(12)
    chroma[[(tonic + step) % 12 for step in scale]] = 0.5
    chroma[[(tonic + step) % 12 for step in (scale[0], scale[2], scale[4])]] = 1.0
    assert best_key(chroma) == (TONICS[tonic], mode)


def test_enharmonic_keys_are_equal():
    assert same_key(("Ab", "minor"), "G#", "minor")
    assert not same_key(("Ab", "minor"), "G#", "major")


def test_kept_keys_count_clips_and_pairs() -> None:
    def scale(tonic: int) -> torch.Tensor:
        """Two seconds of a major scale with a strong triad: ``(1, t)`` at 16 kHz."""
        time = torch.arange(32_000) / 16_000
        steps = {0: 1.0, 2: 0.3, 4: 1.0, 5: 0.3, 7: 1.0, 9: 0.3, 11: 0.3}
        notes = [a * torch.sin(2 * torch.pi * 440 * 2 ** ((tonic + s) / 12) * time) for s, a in steps.items()]
        return 0.1 * torch.stack(notes).sum(dim=0)[None]

    low, high = scale(0), scale(6)
    assert kept_keys([low, high, low], [low, high, low], 16_000) == (1, pytest.approx(1 / 3))
    assert kept_keys([high, high], [low, high], 16_000) == (0.5, 0)


@pytest.mark.slow
def test_estimators_are_right_on_most_rendered_pieces():
    """Most of twelve rendered pieces, from 10 s each."""
    tempos = keys = 0
    for path, truth in TRUTH.items():
        audio = read(CLIPS / path)
        clip = middle(resample(audio.samples, audio.sample_rate, 16_000), 16_000)
        tempos += same_tempo(tempo(clip, 16_000), truth["tempo_bpm"])
        keys += same_key(key(clip, 16_000), truth["key"], truth["mode"])
    assert tempos >= 9
    assert keys >= 7
