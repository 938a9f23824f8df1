"""Attribute scores of an evaluation: what is heard in its clips, and how often each judge is right."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.evaluation import attributes
from lightning_n2m.evaluation.attributes import AttributePredictions, AttributeProbes, Score
from lightning_n2m.evaluation.embedders import MUSICNN
from lightning_n2m.evaluation.prompt_attributes import PromptAttributes
from lightning_n2m.evaluation.reference_embeddings import RATE
from lightning_n2m.evaluation.tempo_key import key, tempo

Accuracy = dict[str, tuple[float, int]]


def attribute_scores(
    judges: AttributeProbes,
    accuracy: Mapping[str, tuple[float, int]],
    asked: Sequence[PromptAttributes],
    made: AttributePredictions,
    real: AttributePredictions,
) -> dict[str, Score]:
    """Every attribute, by the name of its figure.

    Args:
        judges: The probes.
        accuracy: Accuracy of each judge on held-out real clips, and on how many.
        asked: What the prompts ask for.
        made: What is heard in the generated clips.
        real: What is heard in the real clips of the same prompts.
    """

    def told(what: str, name: str) -> str:
        value, n = accuracy[name]
        return f"{what}; right on {value:.0%} of {n} held-out real clips of known truth"

    probe = f"linear probe of {MUSICNN} on {judges.n} training clips"
    families, drums, genre = (told(probe, name) for name in ("families", "drums", "genre"))
    pace, tonality = told("librosa's tempo", "tempo"), told("librosa's chroma, Temperley's profiles", "key")
    return {
        "instrument families heard, of those heard in the real clip": attributes.family_score(
            judges.families, asked, made, real, families
        ),
        "drums present or absent as asked": attributes.drums_score(judges.drums, asked, made, real, drums),
        "genre in the judge's top 3": attributes.genre_score(judges.genres, asked, made, real, genre),
        "tempo within 8 %, octaves forgiven": attributes.tempo_score(asked, made, real, pace),
        "key and mode": attributes.key_score(asked, made, real, tonality),
    }


def cached_reference_attributes(file: Path, items: Sequence[EvaluationItem], audio: Tensor) -> dict[str, Any]:
    """Tempo and key heard in real clips ``(n, 1, t)``, by clip; a file keeps them for the next evaluation."""
    known: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for item, clip in zip(items, audio, strict=True):
        if item.key not in known:
            known[item.key] = {"tempo": tempo(clip, RATE), "key": key(clip, RATE)}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(known), encoding="utf-8")
    return known


def known_accuracy(known: Mapping[str, Any], items: Sequence[EvaluationItem]) -> Accuracy:
    """How often tempo and key were heard rightly where the truth is known."""
    right: dict[str, list[bool]] = {"tempo": [], "key": []}
    for item in items:
        row = known[item.key]
        answers = {
            "tempo": attributes.known_tempo(item.truth, row["tempo"]),
            "key": attributes.known_key(item.truth, tuple(row["key"])),
        }
        for name, answer in answers.items():
            if answer is not None:
                right[name].append(answer)
    return {name: (sum(x) / len(x) if x else math.nan, len(x)) for name, x in right.items()}


def reference_attributes(
    known: Mapping[str, Any], items: Sequence[EvaluationItem], embedding: Tensor
) -> AttributePredictions:
    """What is heard in the real clips."""
    rows = [known[item.key] for item in items]
    return AttributePredictions(
        embedding, [row["tempo"] for row in rows], [tuple(row["key"]) for row in rows]
    )


def predict_attributes(
    audio: Tensor, embedding: Tensor, asked: Sequence[PromptAttributes]
) -> AttributePredictions:
    """What is heard in generated clips ``(n, 1, t)``; tempo and key, slow to hear, only where asked for."""
    tempos = [
        math.nan if a.tempo is None else tempo(clip, RATE) for clip, a in zip(audio, asked, strict=True)
    ]
    keys = [None if a.key is None else key(clip, RATE) for clip, a in zip(audio, asked, strict=True)]
    return AttributePredictions(embedding, tempos, keys)
