"""Held-out pieces whose combination of lead, genre and tempo is set apart, and the other ones.

``python -m lightning_n2m test ... --data.evaluation_set benchmarks.reserved.Reserved`` (project's folder).
"""

from __future__ import annotations

from typing import Any

from data_pipeline.starter_corpus.description import Truth, is_reserved
from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.evaluation.evaluation_sets import Starter


class Reserved(Starter):
    """Of the held-out pieces those alone whose combination of lead, genre and tempo is set apart."""

    def _chosen(self, items: list[EvaluationItem], clips: int | None) -> list[EvaluationItem]:
        return super()._chosen([x for x in items if x.truth and is_reserved(_truth(x.truth))], clips)


class Unreserved(Starter):
    """Of the held-out pieces those whose combination is heard in training, in other pieces."""

    def _chosen(self, items: list[EvaluationItem], clips: int | None) -> list[EvaluationItem]:
        return super()._chosen([x for x in items if x.truth and not is_reserved(_truth(x.truth))], clips)


def _truth(facts: dict[str, Any]) -> Truth:
    known: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in facts.items()}
    return Truth(**known)
