"""Generated clips that repeat training music."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_n2m.evaluation.embedders import MUSICNN
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.metric import MetricValue


def count_repetitions(data: EvaluationData) -> Iterator[MetricValue]:
    """Number of clips that the memorisation check flags."""
    result = data.memorisation
    if result is None:
        return
    n = len(result.matches)
    evaluator = (
        f"{MUSICNN} above {result.embedding.value:.3f} or waveforms above {result.waveform.value:.3f}, "
        "calibrated on known duplicates; upper bound: every clip"
    )
    name = "clips that repeat training music"
    yield MetricValue(name, float(len(result.flagged)), 0.0, float(n), False, n, evaluator)
