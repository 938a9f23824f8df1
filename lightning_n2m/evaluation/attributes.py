"""Scores of requested attributes: instrument families, drums, genre, tempo, key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from lightning_n2m.data.prompt_attributes import PromptAttributes
from lightning_n2m.evaluation.linear_probe import LinearProbe
from lightning_n2m.evaluation.tempo_key import same_key, same_tempo

T = TypeVar("T")


@dataclass(frozen=True)
class AttributePredictions:
    """Predicted attributes of a set of clips, in order.

    Args:
        embedding: The evaluating tagger's mean embedding, ``(clips, 200)``, input of the linear probes.
        tempo: Beats per minute, NaN where not estimated.
        key: Tonic and mode, none where not estimated.
    """

    embedding: Tensor
    tempo: Sequence[float]
    key: Sequence[tuple[str, str] | None]


@dataclass(frozen=True)
class AttributeScore:
    """Share of requests that clips fulfil, with chance level and the score of reference recordings.

    Args:
        value: Share of the requests that the generated clips fulfil; NaN without requests.
        chance: The same for the reference clips of other prompts.
        reference: The same for the reference clips themselves, the highest score to expect.
        n: Number of requests.
    """

    value: float
    chance: float
    reference: float
    n: int


def family_score(
    probe: LinearProbe,
    requests: Sequence[PromptAttributes],
    generated: AttributePredictions,
    reference: AttributePredictions,
) -> AttributeScore:
    """Instrument families that prompts name and that the probe finds in the reference clip."""
    present = probe.scores(generated.embedding) > 0
    present_in_reference = probe.scores(reference.embedding) > 0
    named = torch.tensor([[label in r.families for label in probe.labels] for r in requests])
    cases = named & present_in_reference
    n = int(cases.sum())
    if not n or len(requests) < 2:
        return AttributeScore(math.nan, math.nan, math.nan, n)
    # Chance: the mean over all other reference clips.
    others = present_in_reference.double().sum(dim=0) - present_in_reference.double()
    chance = others / (len(requests) - 1)
    return AttributeScore(_share(present[cases]), float(chance[cases].mean()), 1.0, n)


def drums_score(
    probe: LinearProbe,
    requests: Sequence[PromptAttributes],
    generated: AttributePredictions,
    reference: AttributePredictions,
) -> AttributeScore:
    """Drums present or absent, where the prompt says which."""
    rows = [i for i, request in enumerate(requests) if request.drums is not None]
    if not rows:
        return AttributeScore(math.nan, math.nan, math.nan, 0)
    requested = torch.tensor([bool(requests[i].drums) for i in rows])

    def is_right(predictions: AttributePredictions) -> Tensor:
        return probe.predict(predictions.embedding, "drums")[rows] == requested

    share = float(probe.predict(reference.embedding, "drums").double().mean())
    chance = float(torch.where(requested, share, 1 - share).mean())
    return AttributeScore(_share(is_right(generated)), chance, _share(is_right(reference)), len(rows))


def genre_score(
    probe: LinearProbe,
    requests: Sequence[PromptAttributes],
    generated: AttributePredictions,
    reference: AttributePredictions,
) -> AttributeScore:
    """Genre of the prompt among the three most probable."""
    top_generated, top_reference = (probe.top(x.embedding, 3) for x in (generated, reference))
    return _matching_score(
        [request.genre if request.genre in probe.labels else None for request in requests],
        lambda genre, clip: genre in top_generated[clip],
        lambda genre, clip: genre in top_reference[clip],
    )


def tempo_score(
    requests: Sequence[PromptAttributes], generated: AttributePredictions, reference: AttributePredictions
) -> AttributeScore:
    """Tempo within 8 % of the requested one, up to octave errors."""
    return _matching_score(
        [request.tempo for request in requests],
        lambda tempo, clip: same_tempo(generated.tempo[clip], tempo),
        lambda tempo, clip: same_tempo(reference.tempo[clip], tempo),
    )


def key_score(
    requests: Sequence[PromptAttributes], generated: AttributePredictions, reference: AttributePredictions
) -> AttributeScore:
    """Tonic and mode as requested."""

    def is_key(predicted: tuple[str, str] | None, requested: tuple[str, str]) -> bool:
        return predicted is not None and same_key(predicted, *requested)

    return _matching_score(
        [request.key for request in requests],
        lambda key, clip: is_key(generated.key[clip], key),
        lambda key, clip: is_key(reference.key[clip], key),
    )


def _matching_score(
    requested: Sequence[T | None],
    is_in_generated: Callable[[T, int], bool],
    is_in_reference: Callable[[T, int], bool],
) -> AttributeScore:
    """Share of the requests fulfilled by their own clips, and by the clips of all other requests."""
    requests = {i: value for i, value in enumerate(requested) if value is not None}
    n = len(requests)
    if n < 2:
        return AttributeScore(math.nan, math.nan, math.nan, n)
    value = sum(is_in_generated(x, i) for i, x in requests.items()) / n
    reference = sum(is_in_reference(x, i) for i, x in requests.items()) / n
    others = sum(is_in_reference(x, j) for i, x in requests.items() for j in requests if j != i)
    return AttributeScore(value, others / (n * (n - 1)), reference, n)


def _share(right: Tensor) -> float:
    return float(right.double().mean()) if right.numel() else math.nan
