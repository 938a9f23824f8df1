"""What a stage makes of combinations that it never heard, apart from the other held-out pieces.

``python -m lightning_n2m test ... --data.evaluation_set benchmarks.reserved.Reserved`` (project's folder).
"""

from __future__ import annotations

from typing import Any

from data_pipeline.sources.description import Truth, is_reserved
from lightning_n2m.data.evaluation_sets import EvaluationItem, Starter


class Reserved(Starter):
    """Of the held-out pieces those alone whose combination of lead, genre and tempo is set apart."""

    def items(self) -> list[EvaluationItem]:
        """Held-out clips of reserved combinations."""
        asked, self.clips = self.clips, None
        found = [item for item in super().items() if item.truth and is_reserved(_truth(item.truth))]
        self.clips = asked
        return found[:asked]


def _truth(facts: dict[str, Any]) -> Truth:
    known: dict[str, Any] = {key: tuple(x) if isinstance(x, list) else x for key, x in facts.items()}
    return Truth(**known)
