"""The two towers as an evaluation model: embeddings for Fréchet distances, and similarities."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_n2m.evaluation.embedders import load_embedder
from lightning_n2m.evaluation.similarity import clip_vectors, similarity
from lightning_n2m.mulan.loading import load_joint


def test_towers_embed_clips_of_any_rate(joint: Path) -> None:
    embedder = load_embedder(str(joint))
    clips = torch.randn(2, 1, 24_000 * 10, generator=torch.Generator().manual_seed(0)) * 0.1
    found = embedder.embed(clips, 24_000)
    assert found.shape == (2, 1, embedder.dimension)
    model = load_joint(str(joint))
    vectors = clip_vectors(model, clips, 24_000)
    torch.testing.assert_close(vectors, found[:, 0], atol=1e-5, rtol=0)
    score = similarity(vectors, model.embed_text(["a slow waltz", "fast techno"]))
    assert -1 <= score.value <= 1
