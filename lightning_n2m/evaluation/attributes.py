"""Whether clips have what their prompts ask for: families of instruments, drums, genre, tempo, key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.evaluation.linear_probe import Probe, fit_probe
from lightning_n2m.evaluation.prompt_attributes import PromptAttributes
from lightning_n2m.evaluation.reference_embeddings import Reference
from lightning_n2m.evaluation.tempo_key import same_key, same_tempo


@dataclass(frozen=True)
class AttributePredictions:
    """What the attribute judges hear in a set of clips, in order.

    Args:
        embedding: The judging tagger's mean embedding, ``(clips, 200)``.
        tempo: Beats a minute, nan where not estimated.
        key: Tonic and mode, none where not estimated.
    """

    embedding: Tensor
    tempo: Sequence[float]
    key: Sequence[tuple[str, str] | None]


@dataclass(frozen=True)
class Score:
    """An adherence with its chance and its ceiling.

    Args:
        value: Share of what was asked that is heard in the generated clips.
        chance: The same with the real clips of other prompts.
        ceiling: The same with the real clips themselves: as good as this judge can tell.
        n: Askings.
        judge: The judge and its accuracy.
    """

    value: float
    chance: float
    ceiling: float
    n: int
    judge: str


class AttributeProbes:
    """Probes fitted to training music of known truth, and tempo and key estimators.

    Args:
        training: Training clips of known truth.

    Raises:
        ValueError: if no clip's truth is known.
    """

    def __init__(self, training: Reference) -> None:
        known = training.where(lambda clip: bool(clip.truth))
        if not known.clips:
            raise ValueError("attribute judges are fitted to clips of known truth, and there are none")
        heard = mean_embedding(known)
        truth = [clip.truth for clip in known.clips]
        self.families = fit_probe(heard, [t["families"] for t in truth])
        self.drums = fit_probe(heard, [["drums"] if t["drums"] else [] for t in truth])
        self.genres = fit_probe(heard, [[t["genre"]] for t in truth], exclusive=True)
        self.n = len(known.clips)

    def accuracy(self, held_out: Reference) -> dict[str, tuple[float, int]]:
        """Accuracy of the probes on held-out real clips of known truth, and on how many.

        Families: mean of hits and correct rejections; drums: share of right answers; genre: share of
        clips whose genre is among the three best.
        """
        known = held_out.where(lambda clip: bool(clip.truth))
        heard, n = mean_embedding(known), len(known.clips)
        truth = [clip.truth for clip in known.clips]
        families = torch.tensor([[f in t["families"] for f in self.families.labels] for t in truth])
        said = self.families.scores(heard) > 0
        hits = float((said & families).sum() / families.sum())
        rejections = float((~said & ~families).sum() / (~families).sum())
        drums = torch.tensor([t["drums"] for t in truth])
        top = self.genres.top(heard, 3)
        return {
            "families": ((hits + rejections) / 2, n),
            "drums": (float((self.drums.predict(heard, "drums") == drums).double().mean()), n),
            "genre": (sum(t["genre"] in best for t, best in zip(truth, top, strict=True)) / n, n),
        }


def mean_embedding(reference: Reference) -> Tensor:
    """Mean of the judging tagger's embeddings, ``(clips, 200)``."""
    return reference.patches.mean(dim=1)


def family_score(
    probe: Probe,
    asked: Sequence[PromptAttributes],
    made: AttributePredictions,
    real: AttributePredictions,
    accuracy: str,
) -> Score:
    """Families that prompts name, where the judge hears them in the real clip."""

    def heard(ear: AttributePredictions, shift: int = 0) -> Tensor:
        return probe.scores(ear.embedding.roll(shift, 0)) > 0

    wanted = torch.tensor([[label in a.families for label in probe.labels] for a in asked])
    cases = wanted & heard(real)
    n = int(cases.sum())
    others = torch.stack([heard(real, shift) for shift in range(1, len(asked))]).double().mean(dim=0)
    return Score(_share(heard(made)[cases]), float(others[cases].mean()) if n else math.nan, 1.0, n, accuracy)


def drums_score(
    probe: Probe,
    asked: Sequence[PromptAttributes],
    made: AttributePredictions,
    real: AttributePredictions,
    accuracy: str,
) -> Score:
    """Drums there or not, where the prompt says which."""
    rows = [i for i, a in enumerate(asked) if a.drums is not None]
    wanted = torch.tensor([bool(asked[i].drums) for i in rows])

    def right(ear: AttributePredictions) -> Tensor:
        return probe.predict(ear.embedding, "drums")[rows] == wanted

    share = float(probe.predict(real.embedding, "drums").double().mean())
    chance = float(torch.where(wanted, share, 1 - share).mean()) if rows else math.nan
    return Score(_share(right(made)), chance, _share(right(real)), len(rows), accuracy)


def genre_score(
    probe: Probe,
    asked: Sequence[PromptAttributes],
    made: AttributePredictions,
    real: AttributePredictions,
    accuracy: str,
) -> Score:
    """Genre of the prompt among the judge's three best."""

    def right(ear: AttributePredictions, a: PromptAttributes, place: int) -> bool:
        return a.genre in best[id(ear)][place]

    best = {id(ear): probe.top(ear.embedding, 3) for ear in (made, real)}
    return _matched(
        asked, made, real, lambda a: a.genre is not None and a.genre in probe.labels, right, accuracy
    )


def tempo_score(
    asked: Sequence[PromptAttributes], made: AttributePredictions, real: AttributePredictions, accuracy: str
) -> Score:
    """Tempo within 8 % of the one that the prompt gives, octave errors forgiven."""

    def right(ear: AttributePredictions, a: PromptAttributes, place: int) -> bool:
        assert a.tempo is not None
        return ear.tempo[place] > 0 and same_tempo(ear.tempo[place], a.tempo)

    return _matched(asked, made, real, lambda a: a.tempo is not None, right, accuracy)


def key_score(
    asked: Sequence[PromptAttributes], made: AttributePredictions, real: AttributePredictions, accuracy: str
) -> Score:
    """Tonic and mode as the prompt says."""

    def right(ear: AttributePredictions, a: PromptAttributes, place: int) -> bool:
        heard = ear.key[place]
        assert a.key is not None
        return heard is not None and same_key(heard, *a.key)

    return _matched(asked, made, real, lambda a: a.key is not None, right, accuracy)


def _matched(
    asked: Sequence[PromptAttributes],
    made: AttributePredictions,
    real: AttributePredictions,
    concerns: Callable[[PromptAttributes], bool],
    right: Callable[[AttributePredictions, PromptAttributes, int], bool],
    accuracy: str,
) -> Score:
    """Share of the prompts that a judge finds met, by their own clips and by all other such clips."""
    rows = [i for i, a in enumerate(asked) if concerns(a)]
    n = len(rows)
    if n < 2:
        return Score(math.nan, math.nan, math.nan, n, accuracy)
    value = sum(right(made, asked[i], i) for i in rows) / n
    ceiling = sum(right(real, asked[i], i) for i in rows) / n
    wrong = sum(right(real, asked[i], j) for i in rows for j in rows if i != j)
    return Score(value, wrong / (n * (n - 1)), ceiling, n, accuracy)


def _share(right: Tensor) -> float:
    return float(right.double().mean()) if right.numel() else math.nan


def known_tempo(truth: dict[str, Any], heard: float) -> bool | None:
    """Whether a tempo was heard rightly; none where it is not known."""
    return same_tempo(heard, truth["tempo_bpm"]) if "tempo_bpm" in truth else None


def known_key(truth: dict[str, Any], heard: tuple[str, str]) -> bool | None:
    """Whether a key was heard rightly; none where it is not known."""
    return same_key(heard, truth["key"], truth["mode"]) if "key" in truth else None
