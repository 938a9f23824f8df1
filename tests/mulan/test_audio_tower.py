from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity

from lightning_n2m.backbones.musicnn import load_musicnn
from lightning_n2m.mulan.audio_tower import TaggerTower


def test_features_are_the_layers_of_the_tagger(shards: Path, tmp_path: Path) -> None:
    tower, generator = TaggerTower(), torch.Generator().manual_seed(0)
    audio = torch.rand(2, 160_000, generator=generator) - 0.5
    cached = load_musicnn("MSD")(audio[1:, None])
    vector = tower.features(audio)[1]
    assert torch.allclose(vector[-200:], cached.embedding.mean(dim=0), atol=1e-4)
    assert torch.allclose(vector[:1506], cached.pooled.mean(dim=0), atol=1e-4)


def test_half_precision_computes_nearly_the_same() -> None:
    audio = torch.rand(1, 160_000, generator=torch.Generator().manual_seed(0)) - 0.5
    full, half = (TaggerTower(precision=p).features(audio) for p in ("float32", "bfloat16"))
    assert float(cosine_similarity(full, half)) > 0.995
