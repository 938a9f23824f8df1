"""Similarity to the prompt and to the reference clip, with shuffled and matching pairs (paper, table 6)."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.similarity import TagSpace, similarity


def measure_similarities(data: EvaluationData) -> Iterator[MetricValue]:
    """Text-audio and audio-audio similarity in the tag space and in every joint model."""
    space = TagSpace(data.training.logits)
    spaces = [
        (
            space.name,
            space.embed_text(data.prompts),
            space.project(data.generated.logits),
            space.project(data.references.logits),
        )
    ]
    for model in data.joint_models:
        generated, references = (x.vectors[model.name] for x in (data.generated, data.references))
        spaces.append((model.name, model.embed_text(data.prompts), generated, references))
    for name, text, generated, references in spaces:
        value, bound = similarity(generated, text), similarity(references, text)
        yield MetricValue(
            f"text-audio similarity, {name}",
            value.value,
            bound.shuffled,
            bound.value,
            True,
            value.n,
            f"{name}; lower bound: shuffled references; upper bound: references",
        )
        yield MetricValue(
            f"audio-audio similarity, {name}",
            similarity(generated, references).value,
            similarity(references, references).shuffled,
            1.0,
            True,
            value.n,
            f"{name}; lower bound: shuffled references; upper bound: the reference itself",
        )
