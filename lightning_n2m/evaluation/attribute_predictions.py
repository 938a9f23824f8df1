"""Predictors of attributes with their accuracy: linear probes, and librosa's tempo and key."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.data.prompt_attributes import PromptAttributes
from lightning_n2m.data.schema import Clip
from lightning_n2m.evaluation.linear_probe import LinearProbe, fit_probe
from lightning_n2m.evaluation.reference_embeddings import RATE, Reference
from lightning_n2m.evaluation.tempo_key import key, same_key, same_tempo, tempo
from lightning_n2m.storage import write_atomic

MINIMUM_CLIPS = 4  # of known truth, to fit a probe
TempoKeys = dict[str, tuple[float, tuple[str, str]]]


def known_families(truth: Mapping[str, Any]) -> list[str] | None:
    """Instrument families of a clip; none where they are not known."""
    families = truth.get("families")
    is_list = isinstance(families, list | tuple) and all(isinstance(family, str) for family in families)
    return list(families) if is_list and families is not None else None


def known_drums(truth: Mapping[str, Any]) -> list[str] | None:
    """``["drums"]`` or an empty list; none where it is not known."""
    drums = truth.get("drums")
    return (["drums"] if drums else []) if isinstance(drums, bool) else None


def known_genre(truth: Mapping[str, Any]) -> list[str] | None:
    """Genre as a list of one; none where it is not known."""
    genre = truth.get("genre")
    return [genre] if isinstance(genre, str) else None


class AttributeProbes:
    """Probes fitted to training clips of known truth; one that too few clips know is none.

    Args:
        training: Training clips.
    """

    def __init__(self, training: Reference) -> None:
        embedding = mean_embedding(training)
        self.n = sum(bool(clip.truth) for clip in training.clips)
        self.families = _fit(embedding, [known_families(clip.truth) for clip in training.clips], False)
        self.drums = _fit(embedding, [known_drums(clip.truth) for clip in training.clips], False)
        self.genres = _fit(embedding, [known_genre(clip.truth) for clip in training.clips], True)

    def family_accuracy(self, held_out: Reference) -> tuple[float, int]:
        """Mean of hits and correct rejections on held-out recordings, and on how many clips."""
        probe = self.families
        rows = _known(held_out.clips, known_families)
        if probe is None or not rows:
            return math.nan, 0
        truth = torch.tensor([[label in families for label in probe.labels] for families in rows.values()])
        predicted = probe.scores(mean_embedding(held_out)[list(rows)]) > 0
        hits = (predicted & truth).sum() / truth.sum()
        rejections = (~predicted & ~truth).sum() / (~truth).sum()
        return float((hits + rejections) / 2), len(rows)

    def drums_accuracy(self, held_out: Reference) -> tuple[float, int]:
        """Share of right answers on held-out recordings, and on how many clips."""
        rows = _known(held_out.clips, known_drums)
        if self.drums is None or not rows:
            return math.nan, 0
        truth = torch.tensor([bool(drums) for drums in rows.values()])
        predicted = self.drums.predict(mean_embedding(held_out)[list(rows)], "drums")
        return float((predicted == truth).double().mean()), len(rows)

    def genre_accuracy(self, held_out: Reference) -> tuple[float, int]:
        """Share of held-out recordings whose genre is among the three most probable, and of how many."""
        rows = _known(held_out.clips, known_genre)
        if self.genres is None or not rows:
            return math.nan, 0
        top = self.genres.top(mean_embedding(held_out)[list(rows)], 3)
        right = [genre in best for (genre,), best in zip(rows.values(), top, strict=True)]
        return sum(right) / len(right), len(right)


def mean_embedding(reference: Reference) -> Tensor:
    """Mean of the evaluating tagger's embeddings of each whole clip, ``(clips, 200)``."""
    return reference.patches.nanmean(dim=1)


def estimate_tempo_and_key(
    clips: Iterable[tuple[str, Tensor]], requests: Mapping[str, PromptAttributes] | None = None
) -> TempoKeys:
    """Tempo and key of 16 kHz clips ``(1, t)`` by key; only those that are requested, since both are slow.

    Args:
        clips: Names and audio.
        requests: Requested attributes by name; null to estimate everything.
    """
    estimates: TempoKeys = {}
    for name, audio in clips:
        request = None if requests is None else requests[name]
        beats = tempo(audio, RATE) if request is None or request.tempo is not None else math.nan
        tonality = key(audio, RATE) if request is None or request.key is not None else ("", "")
        estimates[name] = (beats, tonality)
    return estimates


def read_tempo_and_key(file: Path) -> TempoKeys:
    """Read a cache of `estimate_tempo_and_key`; empty if it does not exist or is damaged."""
    if not file.is_file():
        return {}
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
        return {
            str(name): (float(row["tempo"]), (str(row["key"][0]), str(row["key"][1])))
            for name, row in rows.items()
        }
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        print(f"The cache file {file} is damaged ({reason}); it is computed again.", file=sys.stderr)
        return {}


def write_tempo_and_key(file: Path, estimates: TempoKeys) -> None:
    """Write the cache that `read_tempo_and_key` reads."""
    rows = {name: {"tempo": beats, "key": list(tonality)} for name, (beats, tonality) in estimates.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(file, json.dumps(rows))


def tempo_accuracy(items: Sequence[EvaluationItem], estimates: TempoKeys) -> tuple[float, int]:
    """Share of right tempos on reference clips of known truth, and on how many."""
    right = [
        same_tempo(estimates[item.key][0], item.truth["tempo_bpm"])
        for item in items
        if isinstance(item.truth.get("tempo_bpm"), int | float)
    ]
    return (sum(right) / len(right) if right else math.nan), len(right)


def key_accuracy(items: Sequence[EvaluationItem], estimates: TempoKeys) -> tuple[float, int]:
    """Share of right keys on reference clips of known truth, and on how many."""
    right = [
        same_key(estimates[item.key][1], item.truth["key"], item.truth["mode"])
        for item in items
        if isinstance(item.truth.get("key"), str) and isinstance(item.truth.get("mode"), str)
    ]
    return (sum(right) / len(right) if right else math.nan), len(right)


def _fit(embedding: Tensor, truth: Sequence[list[str] | None], exclusive: bool) -> LinearProbe | None:
    rows = [i for i, labels in enumerate(truth) if labels is not None]
    labels = [labels for labels in truth if labels is not None]
    if len(rows) < MINIMUM_CLIPS or not any(labels):
        return None
    return fit_probe(embedding[rows], labels, exclusive)


def _known(clips: Sequence[Clip], known: Any) -> dict[int, list[str]]:
    """Known labels by the number of the clip."""
    return {i: labels for i, clip in enumerate(clips) if (labels := known(clip.truth)) is not None}
