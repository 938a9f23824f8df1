"""aiSFX against its own package."""

from __future__ import annotations

import pytest
import torch

from lightning_n2m.backbones.aisfx import load_aisfx
from lightning_n2m.evaluation.embedders import load_embedder


def chirp(rate, seconds):
    time = torch.arange(int(rate * seconds)) / rate
    return 0.4 * torch.sin(2 * torch.pi * (200 + 900 * time) * time)[None, None]


def test_it_equals_the_network_of_its_package():
    original = pytest.importorskip("aisfx.models.cnn2d").EmbeddingNet("max", 3, 1, 64).eval()
    network = load_aisfx()
    state = {}
    for key, tensor in network.state_dict().items():
        if key.startswith("blocks."):
            state[f"conv_block{int(key[7]) + 1}{key[8:]}"] = tensor
    original.load_state_dict(state)
    mel = torch.rand(2, 100, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(mel), original(mel), atol=1e-4, rtol=1e-4)


def test_its_log_mel_equals_that_of_its_package():
    librosa = pytest.importorskip("librosa")
    audio = chirp(44_100, 3)
    expected = librosa.feature.melspectrogram(
        y=(audio[0, 0] / audio.abs().max()).numpy(), sr=44_100.0, n_mels=96, norm=1.0, fmin=0.0,
        fmax=22_050.0, htk=True, power=2.0, hop_length=1024, win_length=2048,
    )  # fmt: skip
    expected = torch.from_numpy(expected).mul(10_000).add(1).log10() / 9.457798957824707
    torch.testing.assert_close(load_aisfx().log_mel(audio)[0].T, expected, atol=1e-3, rtol=0)


def test_it_ignores_loudness():
    embedder = load_embedder("aisfx")
    audio = chirp(16_000, 3)
    torch.testing.assert_close(
        embedder.embed(audio, 16_000), embedder.embed(audio / 10, 16_000), atol=1e-3, rtol=0
    )
