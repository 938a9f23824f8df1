"""Runs all metrics on the data of an evaluation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.metrics import METRICS, Metric
from lightning_n2m.evaluation.tagger import TagScore, tag_auc


@dataclass
class EvaluationResult:
    """Metric values, and what the report shows beside them.

    Args:
        metrics: All metric values, in the order of the report.
        tags: Tag scores of the generated and of the reference clips.
        memorisation: Result of the memorisation check, if there is training music.
        notes: Sentences for the reader.
    """

    metrics: list[MetricValue]
    tags: tuple[TagScore, TagScore]
    memorisation: MemorisationResult | None = None
    notes: list[str] = field(default_factory=list)


class MetricSuite:
    """All metrics, with the prefix and command of one evaluation.

    Args:
        prefix: Begins the names of all metric values.
        command: Command that measures them again.
        metrics: The metrics to run.
    """

    def __init__(self, prefix: str, command: str, metrics: Sequence[Metric] = METRICS) -> None:
        self.prefix, self.command, self.metrics = prefix, command, tuple(metrics)

    @torch.autocast("cpu", enabled=False)  # models have run; distances need full precision
    def __call__(self, data: EvaluationData) -> EvaluationResult:
        """Run all metrics; values that could not be measured from so few clips are dropped."""
        values = [
            dataclasses.replace(value, name=f"{self.prefix}{value.name}", command=self.command)
            for metric in self.metrics
            for value in metric(data)
            if not math.isnan(value.value)
        ]
        generated, references = (
            tag_auc(data.expected_tags, features.logits) for features in (data.generated, data.references)
        )
        return EvaluationResult(values, (generated, references), data.memorisation)
