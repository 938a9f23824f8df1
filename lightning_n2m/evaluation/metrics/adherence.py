"""Attributes that prompts request, measured by predictors whose own accuracy is reported with them."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_n2m.data.prompt_attributes import parse_prompt
from lightning_n2m.evaluation import attributes
from lightning_n2m.evaluation.attribute_predictions import key_accuracy, tempo_accuracy
from lightning_n2m.evaluation.attributes import AttributePredictions, AttributeScore
from lightning_n2m.evaluation.clip_features import ClipFeatures
from lightning_n2m.evaluation.embedders import MUSICNN
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.metric import MetricValue


def measure_adherence(data: EvaluationData) -> Iterator[MetricValue]:
    """Instrument families, drums, genre, tempo and key, for training music of known truth."""
    probes = data.probes
    if probes is None:
        return
    genres = probes.genres.labels if probes.genres else ()
    requests = [parse_prompt(prompt, genres) for prompt in data.prompts]
    generated = _predictions(data, data.generated, data.generated_tempo_key)
    reference = _predictions(data, data.references, data.reference_tempo_key)
    held_out = data.held_out[data.domain]
    probe = f"linear probe of {MUSICNN} on {probes.n} training clips"
    if probes.families:
        score = attributes.family_score(probes.families, requests, generated, reference)
        accuracy = probes.family_accuracy(held_out)
        yield _row("instrument families of the reference", score, probe, accuracy)
    if probes.drums:
        score = attributes.drums_score(probes.drums, requests, generated, reference)
        yield _row("drums present or absent as requested", score, probe, probes.drums_accuracy(held_out))
    if probes.genres:
        score = attributes.genre_score(probes.genres, requests, generated, reference)
        yield _row("genre in the top 3", score, probe, probes.genre_accuracy(held_out))
    if data.reference_tempo_key:
        score = attributes.tempo_score(requests, generated, reference)
        accuracy = tempo_accuracy(data.items, data.reference_tempo_key)
        yield _row("tempo within 8 %, up to octaves", score, "librosa's tempo", accuracy)
        score = attributes.key_score(requests, generated, reference)
        accuracy = key_accuracy(data.items, data.reference_tempo_key)
        yield _row("key and mode", score, "librosa's chroma, Temperley's profiles", accuracy)


def _predictions(
    data: EvaluationData, features: ClipFeatures, estimates: dict[str, tuple[float, tuple[str, str]]]
) -> AttributePredictions:
    missing = (float("nan"), ("", ""))
    rows = [estimates.get(item.key, missing) for item in data.items]
    return AttributePredictions(features.tagger_embedding, [row[0] for row in rows], [row[1] for row in rows])


def _row(name: str, score: AttributeScore, method: str, accuracy: tuple[float, int]) -> MetricValue:
    value, n = accuracy
    evaluator = f"{method}; right on {value:.0%} of {n} held-out recordings of known truth" if n else method
    return MetricValue(name, score.value, score.chance, score.reference, True, score.n, evaluator)
