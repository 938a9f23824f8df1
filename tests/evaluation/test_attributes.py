from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.evaluation.attributes import (
    AttributePredictions,
    drums_score,
    family_score,
    genre_score,
    key_score,
    tempo_score,
)
from lightning_n2m.evaluation.linear_probe import fit_probe
from lightning_n2m.evaluation.prompt_attributes import PromptAttributes

LABELS = ["brass", "guitar", "piano"]


def heard(*rows):
    """Embeddings in which each label has an axis of its own."""
    return torch.tensor([[8.0 if label in row else -8.0 for label in (*LABELS, "drums")] for row in rows])


@pytest.fixture(scope="module")
def world():
    generator = torch.Generator().manual_seed(0)
    truth = [[x for x in LABELS if torch.rand((), generator=generator) < 0.5] for _ in range(200)]
    drums = [["drums"] * int(torch.rand((), generator=generator) < 0.5) for _ in truth]
    x = heard(*(a + b for a, b in zip(truth, drums, strict=True)))
    x = x + torch.randn(x.shape, generator=generator)
    genres = fit_probe(x, [[a[0] if a else "none"] for a in truth], exclusive=True)
    return fit_probe(x, truth), fit_probe(x, drums), genres


def ear(embedding=None, tempo=(), key=()):
    return AttributePredictions(
        torch.zeros(len(tempo or key), 4) if embedding is None else embedding, tempo, key
    )


def test_families_count_where_the_judge_hears_them_in_the_real_clip(world):
    asked = [
        PromptAttributes(frozenset({"piano"})),
        PromptAttributes(frozenset({"guitar", "brass"})),
        PromptAttributes(),
    ]
    real = ear(heard(["piano"], ["guitar"], []))  # brass is not heard even in the real clip
    made = ear(heard(["piano"], ["piano"], ["piano"]))
    score = family_score(world[0], asked, made, real, "judge")
    assert (score.value, score.ceiling, score.n) == (0.5, 1.0, 2)
    assert score.chance == 0  # no other real clip has the piano of the first or the guitar of the second


def test_drums_are_right_when_there_or_not_as_asked(world):
    asked = [
        PromptAttributes(drums=True),
        PromptAttributes(drums=False),
        PromptAttributes(),
        PromptAttributes(drums=True),
    ]
    real = ear(heard(["drums"], [], [], ["drums"]))
    made = ear(heard(["drums"], ["drums"], [], []))
    score = drums_score(world[1], asked, made, real, "judge")
    assert (score.value, score.ceiling, score.n) == (pytest.approx(1 / 3), 1.0, 3)
    assert score.chance == pytest.approx(0.5)


def test_a_genre_counts_among_the_best_three_only_if_the_judge_knows_it(world):
    asked = [
        PromptAttributes(genre="guitar"),
        PromptAttributes(genre="brass"),
        PromptAttributes(genre="polka"),
    ]
    both = ear(heard(["guitar"], ["brass"], []))
    score = genre_score(world[2], asked, both, both, "judge")
    assert (score.value, score.ceiling, score.n) == (1.0, 1.0, 2)


def test_tempo_and_key_beside_the_clips_of_other_prompts():
    asked = [
        PromptAttributes(tempo=100.0),
        PromptAttributes(tempo=66.0),
        PromptAttributes(),
        PromptAttributes(tempo=142.0),
    ]
    real = ear(tempo=[100.0, 132.0, 1.0, 90.0])
    made = ear(tempo=[51.0, 75.0, 1.0, 0.0])
    score = tempo_score(asked, made, real, "judge")
    assert (score.value, score.ceiling, score.n) == (pytest.approx(1 / 3), pytest.approx(2 / 3), 3)
    assert score.chance == pytest.approx(1 / 6)  # 132 is near 142, of six wrong pairs
    keys = [PromptAttributes(key=("Ab", "major")), PromptAttributes(key=("C", "minor"))]
    score = key_score(keys, ear(key=[("Ab", "major"), ("C", "major")]), ear(key=[("Ab", "major"), None]), "j")
    assert (score.value, score.ceiling, score.chance) == (0.5, 0.5, 0.0)


def test_nothing_asked_is_no_score():
    score = tempo_score(
        [PromptAttributes(), PromptAttributes()], ear(tempo=[1.0, 2.0]), ear(tempo=[1.0, 2.0]), "judge"
    )
    assert math.isnan(score.value)
    assert score.n == 0
