"""Windows of clips, and the mean of their vectors."""

from __future__ import annotations

import pytest
import torch

from lightning_n2m.mulan.joint import embed_clips, windows


class Loudness:
    """A joint model by hand: how loud the two halves of a window are."""

    name, sample_rate, dimension = "loudness", 10, 2

    def embed_audio(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(audio.abs().unflatten(-1, (2, -1)).mean(dim=-1), dim=-1)

    def embed_text(self, texts) -> torch.Tensor:
        raise NotImplementedError


def test_windows_do_not_overlap_and_the_rest_is_dropped() -> None:
    audio = torch.arange(25.0)[None]
    assert windows(audio, 10, 1.0).tolist() == [[[*range(10)], [*range(10, 20)]]]


def test_a_short_clip_is_repeated_until_it_fills_a_window() -> None:
    assert windows(torch.tensor([[1.0, 2.0, 3.0]]), 8, 1.0).tolist() == [[[1, 2, 3, 1, 2, 3, 1, 2]]]


def test_a_clip_is_the_mean_of_its_windows_on_the_sphere() -> None:
    audio = torch.cat([torch.ones(1, 50), torch.zeros(1, 50), torch.zeros(1, 50), torch.ones(1, 50)], dim=1)
    vector = embed_clips(Loudness(), audio)
    assert vector.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5])]
