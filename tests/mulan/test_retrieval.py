"""Recall and tag scores against counts by hand, sorting, and scikit-like pair counting."""

from __future__ import annotations

import itertools

import pytest
import torch

from lightning_n2m.mulan.retrieval import chance, measurable_tags, measure, recall, tag_auc


def test_recall_counts_queries_whose_answer_is_near_enough() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.2], [0.8, 0.7, 0.1], [0.9, 0.8, 0.7]])
    right = torch.eye(3, dtype=torch.bool)
    assert recall(scores, right, 1) == pytest.approx(1 / 3)
    assert recall(scores, right, 2) == pytest.approx(2 / 3)
    assert recall(scores, right, 3) == 1.0


def test_a_model_that_says_the_same_of_everything_scores_nothing() -> None:
    assert recall(torch.ones(4, 4), torch.eye(4, dtype=torch.bool), 1) == 0


def test_any_clip_of_the_same_track_is_right() -> None:
    right = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    scores = torch.tensor([[0.1, 0.9, 0.2], [0.9, 0.1, 0.2], [0.0, 0.0, 0.5]])
    assert recall(scores, right, 1) == 1.0


def test_chance_is_what_random_orders_come_to() -> None:
    generator = torch.Generator().manual_seed(0)
    right = torch.rand(5, 12, generator=generator) < 0.2
    right[:, 0] = True
    drawn = [recall(torch.rand(5, 12, generator=generator), right, 3) for _ in range(4000)]
    assert chance(right, 3) == pytest.approx(sum(drawn) / len(drawn), abs=0.02)


def test_tag_auc_counts_pairs_in_the_right_order() -> None:
    generator = torch.Generator().manual_seed(1)
    scores = torch.randn(30, 2, generator=generator)
    scores[:8, 0] = 0.25  # ties count half
    tags = [["a"] * (i % 3 == 0) + ["b"] * (i % 2) for i in range(30)]
    areas = []
    for column, tag in enumerate("ab"):
        inside = [float(s) for s, of in zip(scores[:, column], tags, strict=True) if tag in of]
        outside = [float(s) for s, of in zip(scores[:, column], tags, strict=True) if tag not in of]
        wins = [(i > o) + 0.5 * (i == o) for i, o in itertools.product(inside, outside)]
        areas.append(sum(wins) / len(wins))
    assert tag_auc(scores, tags, ["a", "b"]) == pytest.approx(sum(areas) / 2, abs=1e-6)


def test_only_tags_that_divide_the_clips_are_measured() -> None:
    tags = [["all", "half"] if i % 2 else ["all", f"one{i}"] for i in range(12)]
    assert measurable_tags(tags) == ["half"]


def test_a_perfect_model_measures_perfectly() -> None:
    vectors = torch.eye(12)
    tags = [["even" if i % 2 == 0 else "odd"] for i in range(12)]
    found = measure(
        vectors,
        vectors,
        [str(i) for i in range(12)],
        tags,
        ["even", "odd"],
        torch.tensor([[float(i % 2 == k) for i in range(12)] for k in range(2)]),
    )
    assert found.text_to_audio == {1: 1.0, 5: 1.0, 10: 1.0}
    assert found.audio_to_text == {1: 1.0, 5: 1.0, 10: 1.0}
    assert found.tag_auc == 1.0
    assert found.chance[1] == pytest.approx(1 / 12)
