"""Fréchet (FAD) and kernel (KAD) audio distances to training music, for every embedder (paper, table 5)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.frechet import Distance, frechet_distance
from lightning_n2m.evaluation.kernel_distance import KernelAudioDistance
from lightning_n2m.evaluation.metric import MetricValue

GENERATED, REFERENCE, NOISE = "generated", "reference", "white noise"


def measure_distances(data: EvaluationData) -> Iterator[MetricValue]:
    """Distances of generated clips and of degraded references, between references and white noise.

    Without training music the set's own references are the other side. Their lower bound is then the distance
    between two halves of them, since a set has no distance from itself.
    """
    for name, rate in data.embedder_rates.items():
        own = data.references.embedded[name].float()
        comparison = data.training.embedded[name].float() if data.has_training else own
        sets = {
            GENERATED: data.generated.embedded[name].float(),
            REFERENCE: own if data.has_training else own[::2],
            **{what: embedded[name].float() for what, embedded in data.degraded.items()},
        }
        half = comparison if data.has_training else own[1::2]
        source = "training music" if data.has_training else "the set's own recordings"
        patches = comparison.shape[0] * comparison.shape[1]
        evaluator = f"{name}, {rate} Hz, against {patches} patches of {source}"
        yield from _frechet_rows(name, sets, comparison, half, evaluator, data.seed)
        yield from _kernel_rows(name, sets, comparison, half, evaluator)


def _frechet_rows(
    name: str, sets: Mapping[str, Tensor], comparison: Tensor, half: Tensor, evaluator: str, seed: int
) -> Iterator[MetricValue]:
    # A covariance needs two patches.
    values = {
        what: frechet_distance(x, half if what == REFERENCE else comparison, 40 * (what == GENERATED), seed)
        for what, x in sets.items()
        if min(x.shape[0] * x.shape[1], half.shape[0] * half.shape[1]) > 1
    }
    if GENERATED not in values:
        return
    for what, distance in values.items():
        if what not in (REFERENCE, NOISE):
            yield MetricValue(
                f"FAD {name}" + ("" if what == GENERATED else f", {what}"),
                distance.value,
                _value(values, REFERENCE),
                _value(values, NOISE),
                False,
                distance.n,
                evaluator + _uncertainty(distance, seed),
            )


def _kernel_rows(
    name: str, sets: Mapping[str, Tensor], comparison: Tensor, half: Tensor, evaluator: str
) -> Iterator[MetricValue]:
    # An unbiased estimate needs two clips on either side.
    if min(len(sets[GENERATED]), len(sets[REFERENCE]), len(half)) < 2:
        return
    distance = KernelAudioDistance(comparison)
    distance_to_half = distance if half is comparison else KernelAudioDistance(half)
    values = {
        what: (distance_to_half if what == REFERENCE else distance)(x)
        for what, x in sets.items()
        if len(x) > 1
    }
    for what, value in values.items():
        if what not in (REFERENCE, NOISE):
            yield MetricValue(
                f"KAD {name}" + ("" if what == GENERATED else f", {what}"),
                value,
                values[REFERENCE],
                values.get(NOISE, float("nan")),
                False,
                len(sets[what]),
                f"{evaluator}, Gaussian kernel of bandwidth {distance.bandwidth:.4g}, times 100",
            )


def _value(values: Mapping[str, Distance], what: str) -> float:
    return values[what].value if what in values else float("nan")


def _uncertainty(distance: Distance, seed: int) -> str:
    text = f", seed {seed}"
    if distance.low < distance.value:
        text += f", 95 % within {distance.low:.4g} to {distance.high:.4g}"
    if distance.has_few_patches:
        text += f"; few patches for {distance.dimension} dimensions, biased upwards"
    return text
