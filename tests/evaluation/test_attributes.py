from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.data.prompt_attributes import PromptAttributes
from lightning_n2m.evaluation.attributes import (
    AttributePredictions,
    drums_score,
    family_score,
    genre_score,
    key_score,
    tempo_score,
)
from lightning_n2m.evaluation.linear_probe import fit_probe

LABELS = ["brass", "guitar", "piano"]


def embed(*rows):
    """Embeddings with one axis per label."""
    return torch.tensor([[8.0 if label in row else -8.0 for label in (*LABELS, "drums")] for row in rows])


@pytest.fixture(scope="module")
def probes():
    generator = torch.Generator().manual_seed(0)
    truth = [[x for x in LABELS if torch.rand((), generator=generator) < 0.5] for _ in range(200)]
    drums = [["drums"] * int(torch.rand((), generator=generator) < 0.5) for _ in truth]
    x = embed(*(a + b for a, b in zip(truth, drums, strict=True)))
    x = x + torch.randn(x.shape, generator=generator)
    genres = fit_probe(x, [[a[0] if a else "none"] for a in truth], exclusive=True)
    return fit_probe(x, truth), fit_probe(x, drums), genres


def predictions(embedding=None, tempo=(), key=()):
    return AttributePredictions(
        torch.zeros(len(tempo or key), 4) if embedding is None else embedding, tempo, key
    )


def test_families_count_where_the_probe_finds_them_in_the_reference(probes):
    requests = [
        PromptAttributes(frozenset({"piano"})),
        PromptAttributes(frozenset({"guitar", "brass"})),
        PromptAttributes(),
    ]
    reference = predictions(embed(["piano"], ["guitar"], []))  # no brass in the reference either
    generated = predictions(embed(["piano"], ["piano"], ["piano"]))
    score = family_score(probes[0], requests, generated, reference)
    assert (score.value, score.reference, score.n) == (0.5, 1.0, 2)
    assert score.chance == 0  # no other reference has the piano of the first or the guitar of the second


def test_drums_are_right_when_present_or_absent_as_requested(probes):
    requests = [
        PromptAttributes(drums=True),
        PromptAttributes(drums=False),
        PromptAttributes(),
        PromptAttributes(drums=True),
    ]
    reference = predictions(embed(["drums"], [], [], ["drums"]))
    generated = predictions(embed(["drums"], ["drums"], [], []))
    score = drums_score(probes[1], requests, generated, reference)
    assert (score.value, score.reference, score.n) == (pytest.approx(1 / 3), 1.0, 3)
    assert score.chance == pytest.approx(0.5)


def test_a_genre_counts_among_the_top_three_if_the_probe_knows_it(probes):
    requests = [
        PromptAttributes(genre="guitar"),
        PromptAttributes(genre="brass"),
        PromptAttributes(genre="polka"),
    ]
    both = predictions(embed(["guitar"], ["brass"], []))
    score = genre_score(probes[2], requests, both, both)
    assert (score.value, score.reference, score.n) == (1.0, 1.0, 2)


def test_tempo_and_key_beside_the_clips_of_other_prompts():
    requests = [
        PromptAttributes(tempo=100.0),
        PromptAttributes(tempo=66.0),
        PromptAttributes(),
        PromptAttributes(tempo=142.0),
    ]
    reference = predictions(tempo=[100.0, 132.0, 1.0, 90.0])
    generated = predictions(tempo=[51.0, 75.0, 1.0, 0.0])
    score = tempo_score(requests, generated, reference)
    assert (score.value, score.reference, score.n) == (pytest.approx(1 / 3), pytest.approx(2 / 3), 3)
    assert score.chance == pytest.approx(1 / 6)  # 132 is near 142, of six wrong pairs
    keys = [PromptAttributes(key=("Ab", "major")), PromptAttributes(key=("C", "minor"))]
    score = key_score(
        keys, predictions(key=[("Ab", "major"), ("C", "major")]), predictions(key=[("Ab", "major"), None])
    )
    assert (score.value, score.reference, score.chance) == (0.5, 0.5, 0.0)


def test_without_requests_there_is_no_score():
    score = tempo_score(
        [PromptAttributes(), PromptAttributes()], predictions(tempo=[1.0, 2.0]), predictions(tempo=[1.0, 2.0])
    )
    assert math.isnan(score.value)
    assert score.n == 0


def test_one_clip_gives_no_score_and_no_error(probes):
    requests = [PromptAttributes(frozenset({"piano"}), True, 100.0, ("C", "minor"), "guitar")]
    one = predictions(embed(["piano", "drums"]), [100.0], [("C", "minor")])
    scores = [
        family_score(probes[0], requests, one, one),
        genre_score(probes[2], requests, one, one),
        tempo_score(requests, one, one),
        key_score(requests, one, one),
    ]
    assert all(math.isnan(score.value) for score in scores)
    assert drums_score(probes[1], requests, one, one).value == 1
