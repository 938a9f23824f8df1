from __future__ import annotations

import torch

from lightning_n2m.audio.degradations import add_noise, low_pass, white_noise

RATE = 16_000


def test_noise_has_the_stated_level():
    noise = torch.randn(2, 1, RATE, generator=torch.Generator().manual_seed(0))
    clean = noise * torch.tensor([0.1, 0.3])[:, None, None]
    for snr in (20.0, 5.0):
        noise = add_noise(clean, snr) - clean
        power = clean.square().mean(dim=-1) / noise.square().mean(dim=-1)
        torch.testing.assert_close(10 * power.log10(), torch.full((2, 1), snr), atol=0.1, rtol=0)
    torch.testing.assert_close(
        white_noise(clean).square().mean(dim=-1), clean.square().mean(dim=-1), rtol=0.05, atol=0
    )


def test_low_pass_keeps_lower_frequencies():
    time = torch.arange(RATE) / RATE
    low, high = (torch.sin(2 * torch.pi * pitch * time)[None, None] for pitch in (500.0, 4000.0))
    torch.testing.assert_close(low_pass(low + high, RATE, 1000.0), low, atol=1e-3, rtol=0)
