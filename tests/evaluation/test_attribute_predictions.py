from __future__ import annotations

import torch

from lightning_n2m.data.schema import Clip
from lightning_n2m.evaluation.attribute_predictions import AttributeProbes
from lightning_n2m.evaluation.reference_embeddings import Reference
from tests.evaluation.common import RATE


def test_probes_are_fitted_to_whatever_truth_is_known():
    generator = torch.Generator().manual_seed(0)
    truths = [{"genre": "waltz" if n % 2 else "polka", "families": "piano", "drums": "yes"} for n in range(8)]
    clips = tuple(Clip(f"{n:016x}", 0, 0.0, 30.0, RATE, truth=truth) for n, truth in enumerate(truths))
    axis = torch.tensor([[1.0 if n % 2 else -1.0] for n in range(8)])
    patches = (axis * torch.ones(1, 200) + torch.randn(8, 200, generator=generator))[:, None]
    reference = Reference(clips, ("s",) * 8, patches, torch.zeros(8, 50), {})
    probes = AttributeProbes(reference)
    # Families that are no list and drums that are no boolean count as unknown.
    assert probes.families is None and probes.drums is None
    assert probes.genres is not None
    assert probes.genre_accuracy(reference) == (1.0, 8)
    assert probes.family_accuracy(reference)[1] == probes.drums_accuracy(reference)[1] == 0
