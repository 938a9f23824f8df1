"""Fréchet distances must put known damage in order, with every embedder that comes with the project."""

from __future__ import annotations

import pytest
import torch

from lightning_n2m.audio.degradations import add_noise, low_pass, white_noise
from lightning_n2m.audio.io import read
from lightning_n2m.audio.resample import resample
from lightning_n2m.evaluation.embedders import load_embedder
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.evaluation.reference_embeddings import middle
from tests.paths import CLIPS as clips_folder

CLIPS = sorted(clips_folder.glob("*.ogg"))
RATE = 16_000


@pytest.fixture(scope="module")
def music():
    """Six seconds of twelve pieces, ``(12, 1, t)``."""
    clips = (read(path) for path in CLIPS)
    return torch.stack([middle(resample(c.samples, c.sample_rate, RATE), RATE, 6.1) for c in clips])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A Fréchet distance")
@pytest.mark.parametrize("name", ["musicnn", "aisfx"])
def test_known_damage_is_put_in_order(music, name):
    embedder = load_embedder(name)
    reference = embedder.embed(music, RATE)

    def distance(audio):
        return frechet_distance(embedder.embed(audio, RATE), reference, draws=0).value

    noise = [distance(add_noise(music, snr)) for snr in (20, 10, 5)]
    treble = [distance(low_pass(music, RATE, cutoff)) for cutoff in (3000, 1000)]
    ladder = [0.0, *noise, distance(white_noise(music))]
    assert ladder == sorted(ladder)
    assert 0 < treble[0] < treble[1] < ladder[-1]


def test_noise_is_as_loud_as_it_says(music):
    clean = music[:2]
    for snr in (20.0, 5.0):
        noise = add_noise(clean, snr) - clean
        power = clean.square().mean(dim=-1) / noise.square().mean(dim=-1)
        torch.testing.assert_close(10 * power.log10(), torch.full((2, 1), snr), atol=0.1, rtol=0)
    torch.testing.assert_close(
        white_noise(clean).square().mean(dim=-1), clean.square().mean(dim=-1), rtol=0.05, atol=0
    )


def test_low_pass_keeps_what_is_below():
    time = torch.arange(RATE) / RATE
    low, high = (torch.sin(2 * torch.pi * pitch * time)[None, None] for pitch in (500.0, 4000.0))
    torch.testing.assert_close(low_pass(low + high, RATE, 1000.0), low, atol=1e-3, rtol=0)
