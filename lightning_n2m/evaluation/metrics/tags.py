"""Tags of the evaluating tagger: those that prompts name, voices, and the distribution of all."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from lightning_n2m.evaluation.embedders import MUSICNN
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.reference_embeddings import RATE
from lightning_n2m.evaluation.tagger import auc, requests_voices, tag_auc, tag_divergence, voice_score

_MINIMUM_VOICES = 3


def measure_tags(data: EvaluationData) -> Iterator[MetricValue]:
    """AUC of the tags that prompts name, AUC of voices, and KL divergence of all tags."""
    tagger = f"{MUSICNN}, {RATE} Hz"
    prompts, generated, references = data.prompts, data.generated.logits, data.references.logits
    score, reference_score = (tag_auc(data.expected_tags, logits) for logits in (generated, references))
    named = ", ".join(f"{tag} ({count})" for tag, (count, _) in score.tags.items())
    evaluator = f"{tagger}; tags that 5 prompts or more name: {named}{_own_accuracy(data)}"
    name = "tags of the prompt, mean AUC"
    yield MetricValue(name, score.mean, 0.5, reference_score.mean, True, len(prompts), evaluator)

    voices = torch.tensor([requests_voices(prompt) for prompt in prompts], dtype=torch.bool)
    if _MINIMUM_VOICES <= int(voices.sum()) <= len(voices) - _MINIMUM_VOICES:
        value, upper = (auc(voice_score(logits), voices) for logits in (generated, references))
        evaluator = f"{tagger}; prompts that request voices against the others"
        yield MetricValue(
            "voices where requested, AUC", value, 0.5, upper, True, int(voices.sum()), evaluator
        )

    divergence = float(tag_divergence(generated, references).mean())
    lower = upper = math.nan
    if data.other_part_logits is not None:
        lower = float(tag_divergence(data.other_part_logits, references).mean())
    if len(prompts) > 1:
        upper = float(tag_divergence(references.roll(1, 0), references).mean())
    evaluator = f"{tagger}; lower bound: another part of the reference; upper bound: another reference"
    yield MetricValue("KL of tags", divergence, lower, upper, False, len(prompts), evaluator)


def _own_accuracy(data: EvaluationData) -> str:
    """Accuracy of the tagger itself on held-out recordings with tags, by domain."""
    text = ""
    for domain, recordings in data.held_out.items():
        labels = [", ".join((*clip.genres, *clip.tags)) for clip in recordings.clips]
        score = tag_auc(labels, recordings.logits)
        if score.tags:
            text += f"; its own mean AUC on {len(labels)} held-out {domain} clips: {score.mean:.2f}"
    return text
