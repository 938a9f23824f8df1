from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.evaluation.similarity import TagSpace, similarity
from lightning_n2m.evaluation.tagger import TAGS


def test_a_prompt_is_close_to_a_clip_with_its_tags():
    generator = torch.Generator().manual_seed(0)
    space = TagSpace(torch.randn(200, 50, generator=generator) * 2 - 4)
    logits = torch.full((2, 50), -4.0)
    logits[0, TAGS.index("piano")] = logits[1, TAGS.index("guitar")] = 2.0
    cosines = space.project(logits) @ space.embed_text(["solo piano", "a guitar piece"]).T
    assert cosines.diagonal().min() > cosines[~torch.eye(2, dtype=torch.bool)].max() + 0.3


def test_shuffled_pairs_are_all_that_do_not_match():
    one = torch.eye(3)
    other = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    result = similarity(one, other)
    assert result.value == pytest.approx(2 / 3)
    assert result.shuffled == pytest.approx(1 / 6)


def test_a_single_pair_has_no_shuffled_ones():
    result = similarity(torch.ones(1, 3), torch.ones(1, 3))
    assert result.value == pytest.approx(1)
    assert math.isnan(result.shuffled)
