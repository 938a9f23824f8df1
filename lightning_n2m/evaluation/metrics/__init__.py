"""All metrics of an evaluation.

To add a metric, write a function that takes an `EvaluationData` and yields `MetricValue` objects, in a module
of this package, and add it to ``METRICS``. A value of NaN is dropped: a metric that has too few clips yields
nothing instead of failing. What a metric needs beyond the data goes into `EvaluationData`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.metrics.adherence import measure_adherence
from lightning_n2m.evaluation.metrics.artefacts import (
    measure_envelope_similarity,
    measure_lines_of_one_seed,
    measure_spectral_lines,
)
from lightning_n2m.evaluation.metrics.distances import measure_distances
from lightning_n2m.evaluation.metrics.repetitions import count_repetitions
from lightning_n2m.evaluation.metrics.similarities import measure_similarities
from lightning_n2m.evaluation.metrics.tags import measure_tags

Metric = Callable[[EvaluationData], Iterator[MetricValue]]

METRICS: tuple[Metric, ...] = (
    measure_distances,
    measure_tags,
    measure_similarities,
    measure_adherence,
    measure_spectral_lines,
    measure_lines_of_one_seed,
    measure_envelope_similarity,
    count_repetitions,
)
