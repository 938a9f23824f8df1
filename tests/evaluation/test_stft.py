from __future__ import annotations

import torch

from lightning_n2m.evaluation.stft import stft_distance


def test_stft_distance_grows_with_noise_and_ignores_phase():
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(16_000) / 16_000
    clip = sum(torch.sin(2 * torch.pi * f * time + f) for f in (220, 440, 1330))[None, None] / 4
    noise = torch.randn(clip.shape, generator=generator)
    ladder = [float(stft_distance(clip + level * noise, clip)) for level in (0, 0.01, 0.1, 1)]
    assert ladder[0] == 0
    assert ladder == sorted(ladder)
    # The same tones with other phases stay nearer than a little noise.
    turned = sum(torch.sin(2 * torch.pi * f * time) for f in (220, 440, 1330))[None, None] / 4
    assert float(stft_distance(turned, clip)) < ladder[1]
