"""The paper's figures for clips that a cascade made (section 5), each with its floor and ceiling."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lightning_n2m.audio.degradations import add_noise, white_noise
from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.evaluation.attribute_scores import (
    attribute_scores,
    cached_reference_attributes,
    known_accuracy,
    predict_attributes,
    reference_attributes,
)
from lightning_n2m.evaluation.attributes import AttributeProbes
from lightning_n2m.evaluation.embedders import MUSICNN, MUSICNN_STEP, Embedder
from lightning_n2m.evaluation.frechet import Distance, frechet_distance
from lightning_n2m.evaluation.memorisation import Repetition
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.prompt_attributes import parse_prompt
from lightning_n2m.evaluation.reference_embeddings import RATE, Reference
from lightning_n2m.evaluation.similarity import TagSpace, clip_vectors, similarity
from lightning_n2m.evaluation.tags import (
    TaggerOutput,
    TagScore,
    asks_for_voices,
    auc,
    hear,
    tag_auc,
    tag_divergence,
    voiced,
)
from lightning_n2m.mulan.joint import JointModel

BATCH = 8


@dataclass(frozen=True)
class ClipPairs:
    """What is judged, in one order: 16 kHz audio of equal length.

    Args:
        items: Prompts and truth.
        made: The middle of the generated clips, ``(n, 1, t)``.
        real: The middle of the real clips, ``(n, 1, t)``.
        elsewhere: Another part of the real clips, ``(n, 1, t)``, none where they are too short for one.
    """

    items: Sequence[EvaluationItem]
    made: Tensor
    real: Tensor
    elsewhere: Tensor | None = None


@dataclass
class EvaluationResult:
    """Figures, and what the report shows beside them.

    Args:
        figures: All figures, in the order of the report.
        tags: Tag scores of the generated and of the real clips.
        ladder: Fréchet distances of real clips under known damage: ``{embedder: {damage: value}}``.
        notes: Sentences for the reader.
    """

    figures: list[MetricValue] = field(default_factory=list)
    tags: tuple[TagScore, TagScore] | None = None
    ladder: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class MetricSuite:
    """Lets the judges hear clips and writes down their figures.

    Args:
        clips: What is judged.
        training: What was heard in training music of the same domain; for a set without any, the set's own.
        own: Whether it is the set's own.
        embedders: For Fréchet distances beside the judging tagger.
        joint: Joint models for similarities beside the tags.
        known: File that keeps what slow judges heard in the real clips.
        prefix: Begins the names of all figures.
        command: How to measure again.
        seed: Seed of noise and bootstrap.
    """

    def __init__(
        self,
        clips: ClipPairs,
        training: Reference,
        own: bool,
        embedders: Sequence[Embedder],
        joint: Sequence[JointModel],
        known: Path,
        prefix: str,
        command: str,
        seed: int = 0,
    ) -> None:
        self.clips, self.training, self.own, self.embedders = clips, training, own, tuple(embedders)
        self.joint, self.known, self.prefix = tuple(joint), known, prefix
        self.command, self.seed = command, seed
        self.result = EvaluationResult()
        self.made = _listen(clips.made)
        self.real = _listen(clips.real)

    def add(
        self,
        name: str,
        value: float,
        floor: float,
        ceiling: float,
        higher_is_better: bool,
        n: int,
        judge: str,
    ) -> None:
        """Write down a figure."""
        row = MetricValue(
            f"{self.prefix}{name}", value, floor, ceiling, higher_is_better, n, judge, self.command
        )
        self.result.figures.append(row)

    def distances(self) -> None:
        """Fréchet distances to training music, with real music under known damage beside them."""
        damages: dict[str, Callable[[Tensor], Tensor]] = {
            "real": lambda x: x,
            "real + noise 20 dB": lambda x: add_noise(x, 20, self.seed),
            "real + noise 5 dB": lambda x: add_noise(x, 5, self.seed),
            "white noise": lambda x: white_noise(x, self.seed),
        }
        for name, embed, rate in self._embeddings():
            reference = self.training.patches if name == MUSICNN else self.training.embedded[name]
            ladder = {
                what: frechet_distance(
                    in_batches(partial(_damaged, damage, embed), self.clips.real), reference, 0
                )
                for what, damage in damages.items()
            }
            made = frechet_distance(in_batches(embed, self.clips.made), reference, seed=self.seed)
            floor, ceiling = ladder["real"].value, ladder["white noise"].value
            whose = "training music"
            if self.own:  # a set compared with itself is no floor: one half of it with the other is
                half = in_batches(embed, self.clips.real[::2])
                floor, whose = frechet_distance(half, reference[1::2], 0).value, "the set's own music"
            judge = f"{name}, {rate} Hz, against {made.reference_n} patches of {whose}, seed {self.seed}"
            self._distance(f"FAD {name}", made, floor, ceiling, judge)
            for what in ("real + noise 20 dB", "real + noise 5 dB"):
                self._distance(f"FAD {name}, {what}", ladder[what], floor, ceiling, judge)
            self.result.ladder[name] = {what: x.value for what, x in ladder.items()} | {
                "generated": made.value
            }

    def _distance(self, name: str, distance: Distance, floor: float, ceiling: float, judge: str) -> None:
        interval = f", 95 % within {distance.low:.4g} to {distance.high:.4g}"
        small = distance.n < 2 * distance.dimension
        warning = f"; few patches for {distance.dimension} dimensions, biased upwards" if small else ""
        shown = interval if distance.low < distance.value else ""
        self.add(name, distance.value, floor, ceiling, False, distance.n, f"{judge}{shown}{warning}")

    def _embeddings(self) -> list[tuple[str, Callable[[Tensor], Tensor], int]]:
        """Name, function and rate of each embedder, the judging tagger first."""

        def tagger(audio: Tensor) -> Tensor:
            return hear(audio, RATE, MUSICNN_STEP).embedding

        others = [(e.name, partial(e.embed, sample_rate=RATE), e.sample_rate) for e in self.embedders]
        return [(MUSICNN, tagger, RATE), *others]

    def words(self, held_out: Mapping[str, Reference]) -> None:
        """Tags: those that prompts name, voices, and the distribution of all.

        Args:
            held_out: Held-out real music by domain, on which the judge itself is tested.
        """
        prompts = [item.prompt for item in self.clips.items]
        made, real = (tag_auc(prompts, logits) for logits in (self.made.logits, self.real.logits))
        self.result.tags = (made, real)
        named = ", ".join(f"{tag} ({count})" for tag, (count, _) in made.tags.items()) or "none"
        judge = f"{MUSICNN}, {RATE} Hz; tags that 5 prompts or more name: {named}{_own(held_out)}"
        self.add("tags of the prompt, mean AUC", made.mean, 0.5, real.mean, True, len(prompts), judge)
        sung = torch.tensor([asks_for_voices(prompt) for prompt in prompts])
        if 3 <= int(sung.sum()) <= len(sung) - 3:
            ours, theirs = (auc(voiced(heard.logits), sung) for heard in (self.made, self.real))
            judge = f"{MUSICNN}, {RATE} Hz; prompts that ask for voices against the others"
            self.add("voices where asked for, AUC", ours, 0.5, theirs, True, int(sung.sum()), judge)
        divergence = tag_divergence(self.made.logits, self.real.logits).mean()
        shuffled = tag_divergence(self.real.logits.roll(1, 0), self.real.logits).mean()
        floor = math.nan
        if self.clips.elsewhere is not None:
            other = _listen(self.clips.elsewhere)
            floor = float(tag_divergence(other.logits, self.real.logits).mean())
        judge = f"{MUSICNN}, {RATE} Hz; floor: another part of the real clip; ceiling: another real clip"
        self.add("KL of tags", float(divergence), floor, float(shuffled), False, len(prompts), judge)

    def similarities(self) -> None:
        """Text-audio and audio-audio similarity, with shuffled and true pairs (paper, table 6)."""
        prompts = [item.prompt for item in self.clips.items]
        space = TagSpace(self.training.logits)
        spaces = [
            (
                space.name,
                space.embed_text(prompts),
                space.place(self.made.logits),
                space.place(self.real.logits),
            )
        ]
        for model in self.joint:
            made, real = (
                in_batches(partial(clip_vectors, model, sample_rate=RATE), audio)
                for audio in (self.clips.made, self.clips.real)
            )
            spaces.append((model.name, model.embed_text(prompts), made, real))
        for name, text, made, real in spaces:
            ours, truth = similarity(made, text), similarity(real, text)
            judge = f"{name}; floor: shuffled real clips; ceiling: real clips"
            self.add(
                f"text-audio similarity, {name}", ours.value, truth.shuffled, truth.value, True, ours.n, judge
            )
            pairs = similarity(made, real)
            floor = similarity(real, real).shuffled
            judge = f"{name}; floor: shuffled real clips; ceiling: the real clip itself"
            self.add(f"audio-audio similarity, {name}", pairs.value, floor, 1.0, True, pairs.n, judge)

    def adherence(self, held_out: Reference) -> None:
        """Attributes that prompts ask for, by judges whose own accuracy stands beside them."""
        judges = AttributeProbes(self.training)
        asked = [parse_prompt(item.prompt, judges.genres.labels) for item in self.clips.items]
        known = cached_reference_attributes(self.known, self.clips.items, self.clips.real)
        scores = attribute_scores(
            judges,
            judges.accuracy(held_out) | known_accuracy(known, self.clips.items),
            asked,
            predict_attributes(self.clips.made, self.made.embedding, asked),
            reference_attributes(known, self.clips.items, self.real.embedding),
        )
        for name, score in scores.items():
            self.add(name, score.value, score.chance, score.ceiling, True, score.n, score.judge)

    def repetition(self, found: Repetition) -> None:
        """How many clips repeat a training clip."""
        n = len(found.matches)
        judge = (
            f"{MUSICNN} above {found.embedding.value:.3f} or waveforms above {found.waveform.value:.3f}, "
            "calibrated on real duplicates; ceiling: every clip"
        )
        self.add(
            "clips that repeat training music", float(len(found.flagged)), 0.0, float(n), False, n, judge
        )


def _own(held_out: Mapping[str, Reference]) -> str:
    """How well the tagger finds what is known of held-out real music, by domain."""
    told = ""
    for domain, music in held_out.items():
        texts = [", ".join((*clip.genres, *clip.tags)) for clip in music.clips]
        score = tag_auc(texts, music.logits)
        if score.tags:
            told += f"; its own mean AUC on {len(texts)} held-out {domain} clips: {score.mean:.2f}"
    return told


def _damaged(damage: Callable[[Tensor], Tensor], embed: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
    return embed(damage(audio))


def _listen(audio: Tensor) -> TaggerOutput:
    """What the judging tagger hears in clips, a few at a time; the embedding is the mean over patches."""
    parts = [hear(part, RATE, MUSICNN_STEP) for part in audio.split(BATCH)]
    return TaggerOutput(
        torch.cat([p.logits for p in parts]), torch.cat([p.embedding.mean(dim=1) for p in parts])
    )


def in_batches(function: Callable[[Tensor], Tensor], audio: Tensor) -> Tensor:
    """Apply a function to a few clips at a time."""
    return torch.cat([function(part) for part in audio.split(BATCH)])
