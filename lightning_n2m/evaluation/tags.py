"""What the judging tagger hears: words of the prompt, the tag distribution, voices, and a space of tags."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import musicnn
from lightning_n2m.evaluation.embedders import JUDGE

# Tags for which a prompt has other words; every tag stands for itself as well.
_WORDS = {
    "drums": ("drum",),
    "beats": ("beat",),
    "strings": ("string section",),
    "electronic": ("electronica", "techno", "trance", "house"),
    "classical": ("nocturne",),
    "synth": ("synthesizer", "synth lead", "synth pad"),
    "violin": ("fiddle",),
    "choir": ("voices",),
    "metal": ("heavy metal",),
}
VOICES = (
    "vocal", "vocals", "singing", "voice", "female voice", "male voice", "choir", "female vocal", "male vocal"
)  # fmt: skip


@dataclass(frozen=True)
class TaggerOutput:
    """What the judging tagger hears in clips.

    Args:
        logits: Log-odds of the 50 tags, mean over the patches of each clip, ``(b, 50)``.
        embedding: Penultimate layer of each patch, ``(b, patches, 200)``.
    """

    logits: Tensor
    embedding: Tensor


@torch.no_grad()
def hear(audio: Tensor, sample_rate: int, step: int = musicnn.PATCH) -> TaggerOutput:
    """Let the judging tagger hear clips ``(b, 1, t)`` of at least 3 s."""
    network = musicnn.load_musicnn(JUDGE)
    heard = network(resample(audio, sample_rate, musicnn.SAMPLE_RATE), step)
    shape = (len(audio), -1)
    return TaggerOutput(heard.logits.unflatten(0, shape).mean(dim=1), heard.embedding.unflatten(0, shape))


def named(prompt: str) -> set[str]:
    """Tags that a prompt names, by whole words; ``no drums`` names none."""
    text = re.sub(r"\b(no|without)( any)? \w+|\bbeats (a|per) minute", " ", prompt.lower())
    found = set()
    for tag in musicnn.TAGS[JUDGE]:
        words = "|".join(re.escape(word) for word in (tag, *_WORDS.get(tag, ())))
        if re.search(rf"\b({words})s?\b", text):
            found.add(tag)
    return found


@dataclass(frozen=True)
class TagScore:
    """How well the tags that prompts name are heard: mean AUC, and of each tag (prompts, AUC)."""

    mean: float
    tags: dict[str, tuple[int, float]]


def tag_auc(prompts: Sequence[str], logits: Tensor, least: int = 5) -> TagScore:
    """Area under the ROC curve of each tag: prompts that name it against those that do not.

    Args:
        prompts: One a clip.
        logits: What was heard, ``(clips, 50)``.
        least: A tag counts if at least so many prompts name it, and as many do not.
    """
    words = [named(prompt) for prompt in prompts]
    scores = {}
    for i, tag in enumerate(musicnn.TAGS[JUDGE]):
        truth = torch.tensor([tag in found for found in words])
        if least <= int(truth.sum()) <= len(truth) - least:
            scores[tag] = (int(truth.sum()), auc(logits[:, i], truth))
    values = [value for _, value in scores.values()]
    return TagScore(sum(values) / len(values) if values else math.nan, scores)


def auc(scores: Tensor, truth: Tensor) -> float:
    """Probability that a positive outscores a negative; ties count half."""
    positive, negative = scores[truth].double(), scores[~truth].double()
    gap = positive[:, None] - negative[None]
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def tag_divergence(made: Tensor, real: Tensor) -> Tensor:
    """KL divergence of the tags of made clips from those of real ones: logits ``(b, 50)`` to ``(b,)``.

    As in MusicGen's evaluation, tags are taken for classes of one distribution by a softmax.
    """
    p, q = real.double().log_softmax(dim=-1), made.double().log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


def asks_for_voices(prompt: str) -> bool:
    """Whether a prompt asks for voices."""
    text = re.sub(r"\b(no|without)( any)? \w+", " ", prompt.lower())
    return re.search(r"\b(choir|voices?|vocals?|singer|singing|sung|sings)\b", text) is not None


def voiced(logits: Tensor) -> Tensor:
    """Score of voices: the largest log-odds among the tags that speak of them, ``(b, 50)`` to ``(b,)``."""
    places = [musicnn.TAGS[JUDGE].index(tag) for tag in VOICES]
    return logits[:, places].amax(dim=1)
