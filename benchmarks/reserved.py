"""Held-out pieces whose combination of lead, genre and tempo never occurs in training, and the others.

``python -m lightning_n2m test ... --data.evaluation_set benchmarks.reserved.Reserved`` (project's folder).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from data_pipeline.starter_corpus.description import Truth, is_reserved
from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.evaluation.evaluation_sets import Starter


class Reserved(Starter):
    """Held-out pieces whose combination of lead, genre and tempo never occurs in training."""

    def _select(
        self, items: Sequence[EvaluationItem], clips: int | None, seed: str | None = None
    ) -> list[EvaluationItem]:
        reserved = [item for item in items if item.truth and is_reserved(_truth(item.truth))]
        return super()._select(reserved, clips, seed)


class Unreserved(Starter):
    """Held-out pieces whose combination occurs in training, in other pieces."""

    def _select(
        self, items: Sequence[EvaluationItem], clips: int | None, seed: str | None = None
    ) -> list[EvaluationItem]:
        others = [item for item in items if item.truth and not is_reserved(_truth(item.truth))]
        return super()._select(others, clips, seed)


def _truth(facts: dict[str, Any]) -> Truth:
    known: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in facts.items()}
    return Truth(**known)
