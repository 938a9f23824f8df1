"""The evaluating tagger, musicnn trained on MagnaTagATune, and scores of its tags."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import musicnn
from lightning_n2m.evaluation.embedders import EVALUATION_CORPUS

TAGS = musicnn.TAGS[EVALUATION_CORPUS]
# Further words for a tag in a prompt, beside the tag itself.
_SYNONYMS = {
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
    """Outputs of the evaluating tagger for clips.

    Args:
        logits: Log-odds of the 50 tags, mean over the patches of each clip, ``(b, 50)``.
        embedding: Penultimate layer of each patch, ``(b, patches, 200)``.
    """

    logits: Tensor
    embedding: Tensor


@torch.no_grad()
def predict_tags(audio: Tensor, sample_rate: int, step: int = musicnn.PATCH) -> TaggerOutput:
    """Tags and embeddings of clips ``(b, 1, t)`` of at least 3 s, computed on the device of the audio.

    Args:
        audio: The clips.
        sample_rate: Their rate in Hz.
        step: Frames of 16 ms from one patch to the next; by default patches do not overlap.

    Raises:
        InputError: if the clips are shorter than 3 s.
    """
    network = musicnn.load_musicnn(EVALUATION_CORPUS).to(audio.device)
    output = network(resample(audio, sample_rate, musicnn.SAMPLE_RATE), step)
    shape = (len(audio), -1)
    return TaggerOutput(output.logits.unflatten(0, shape).mean(dim=1), output.embedding.unflatten(0, shape))


def tags_in_prompt(prompt: str) -> set[str]:
    """Tags that a prompt names, by whole words; ``no drums`` names none."""
    text = re.sub(r"\b(no|without)( any)? \w+|\bbeats (a|per) minute", " ", prompt.lower())
    tags = set()
    for tag in TAGS:
        words = "|".join(re.escape(word) for word in (tag, *_SYNONYMS.get(tag, ())))
        if re.search(rf"\b({words})s?\b", text):
            tags.add(tag)
    return tags


@dataclass(frozen=True)
class TagScore:
    """How well the tagger recognises the tags that prompts name.

    Args:
        mean: Mean AUC over the tags; NaN if no tag counts.
        tags: Number of prompts and AUC of each tag.
    """

    mean: float
    tags: dict[str, tuple[int, float]]


def tag_auc(prompts: Sequence[str | Set[str]], logits: Tensor, minimum: int = 5) -> TagScore:
    """Area under the ROC curve of each tag: prompts that name it against those that do not.

    Args:
        prompts: One a clip: text, or the tags themselves.
        logits: Log-odds of the tags, ``(clips, 50)``.
        minimum: A tag counts if at least this number of prompts name it, and as many do not.
    """
    named = [tags_in_prompt(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
    scores = {}
    for i, tag in enumerate(TAGS):
        truth = torch.tensor([tag in tags for tags in named], dtype=torch.bool)
        if minimum <= int(truth.sum()) <= len(truth) - minimum:
            scores[tag] = (int(truth.sum()), auc(logits[:, i], truth))
    values = [value for _, value in scores.values()]
    return TagScore(sum(values) / len(values) if values else math.nan, scores)


def auc(scores: Tensor, truth: Tensor) -> float:
    """Probability that a positive outscores a negative; ties count half."""
    positive, negative = scores[truth].double(), scores[~truth].double()
    gap = positive[:, None] - negative[None]
    return float(((gap > 0).double() + 0.5 * (gap == 0).double()).mean())


def tag_divergence(generated: Tensor, reference: Tensor) -> Tensor:
    """KL divergence of the tags of generated clips from those of references: logits ``(b, 50)`` to ``(b,)``.

    As in MusicGen's evaluation, a softmax turns the tags into classes of one distribution.
    """
    p, q = reference.double().log_softmax(dim=-1), generated.double().log_softmax(dim=-1)
    return (p.exp() * (p - q)).sum(dim=-1)


def requests_voices(prompt: str) -> bool:
    """Whether a prompt requests voices."""
    text = re.sub(r"\b(no|without)( any)? \w+", " ", prompt.lower())
    return re.search(r"\b(choir|voices?|vocals?|singer|singing|sung|sings)\b", text) is not None


def voice_score(logits: Tensor) -> Tensor:
    """Largest log-odds among the tags of voices, ``(b, 50)`` to ``(b,)``."""
    columns = [TAGS.index(tag) for tag in VOICES]
    return logits[:, columns].amax(dim=1)
