"""Artefacts that no prompt requests: constant tones, and one loudness envelope for all prompts of a seed."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lightning_n2m.evaluation.envelopes import mean_correlation
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.reference_embeddings import RATE
from lightning_n2m.evaluation.spectral_lines import MINIMUM_CLIPS, largest_line


def measure_spectral_lines(data: EvaluationData) -> Iterator[MetricValue]:
    """Largest excess of the median spectrum of all clips above its neighbourhood, beside the references'."""
    n = len(data.items)
    if n < MINIMUM_CLIPS:
        return
    generated, reference = (largest_line(x.spectra, RATE) for x in (data.generated, data.references))
    evaluator = (
        f"median spectrum of all clips, {RATE} Hz, above its neighbourhood: at {generated.frequency:.0f} Hz; "
        f"lower bound: references, at {reference.frequency:.0f} Hz; upper bound: an audible tone"
    )
    yield MetricValue(
        "largest spectral line, dB", generated.excess, reference.excess, 40.0, False, n, evaluator
    )


def measure_lines_of_one_seed(data: EvaluationData) -> Iterator[MetricValue]:
    """Largest line of clips that share one noise: lines that follow from it differ between seeds.

    `measure_spectral_lines` does not see them, since the clips of an evaluation have different noise.
    """
    if data.one_seed_spectra is None or data.other_seed_spectra is None:
        return
    n = len(data.one_seed_spectra)
    if n < MINIMUM_CLIPS:
        return
    one, other = (largest_line(x, RATE) for x in (data.one_seed_spectra, data.other_seed_spectra))
    evaluator = (
        f"median spectrum of {n} clips of one noise, {RATE} Hz, above its neighbourhood: at "
        f"{one.frequency:.0f} Hz; lower bound: the same prompts with different noise, at "
        f"{other.frequency:.0f} Hz; upper bound: an audible tone"
    )
    name = "largest spectral line at one seed, dB"
    yield MetricValue(name, one.excess, other.excess, 40.0, False, n, evaluator)


def measure_envelope_similarity(data: EvaluationData) -> Iterator[MetricValue]:
    """Correlation of loudness envelopes across prompts at one seed, beside that across seeds."""
    if data.one_seed_envelopes is None or data.other_seed_envelopes is None:
        return
    value = mean_correlation(data.one_seed_envelopes)
    across_seeds = mean_correlation(data.other_seed_envelopes)
    references = mean_correlation(data.references.envelopes)
    note = "" if math.isnan(references) else f"; references: {references:.2f}"
    evaluator = f"correlation of levels of 0.1 s; lower bound: the same prompts at different seeds{note}"
    n = len(data.one_seed_envelopes)
    name = "loudness envelopes across prompts at one seed, correlation"
    yield MetricValue(name, value, across_seeds, 1.0, False, n, evaluator)
