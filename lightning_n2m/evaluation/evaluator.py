"""All judges on what a cascade made: figures, stages by themselves, the memorisation check, the report."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from lightning_n2m.audio.io import read
from lightning_n2m.cascade import Cascade
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet
from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.evaluation.embedders import Embedder, load_embedder
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.evaluation.memorisation import RepetitionCheck
from lightning_n2m.evaluation.metric import MetricValue, write_metrics
from lightning_n2m.evaluation.metric_suite import ClipPairs, MetricSuite
from lightning_n2m.evaluation.reference_embeddings import (
    EVALUATED_SECONDS,
    RATE,
    Reference,
    embed_reference_clips,
    embed_shards,
    middle,
)
from lightning_n2m.evaluation.refiner import evaluate_refiner
from lightning_n2m.evaluation.report import write_report
from lightning_n2m.mulan.loading import load_joint
from lightning_n2m.stages.base import Stage


@dataclass(frozen=True)
class CascadeEvaluator:
    """What is judged, by whom, and where it is written.

    Args:
        cascade: The cascade that made the clips.
        asked: Its prompts.
        folder: Holds ``generated``; figures and report are written here.
        heard: Keeps what the judges heard in real music.
        embedders: Names for Fréchet distances, beside the judging tagger.
        joint: Joint models for similarities.
        alone: ClipPairs on which refiner and super-resolution are judged by themselves.
        command: How to measure again.
    """

    cascade: Cascade
    asked: EvaluationSet
    folder: Path
    heard: Path
    embedders: Sequence[str]
    joint: Sequence[str]
    alone: int
    command: str

    @property
    def prefix(self) -> str:
        """Begins the names of the figures."""
        return f"{self.cascade.route}: "

    def __call__(self) -> list[MetricValue]:
        """Judge, write ``evaluation.json`` and the report, and give the figures."""
        items = self.asked.items()
        embedders = [load_embedder(name) for name in self.embedders]
        clips = self._clips(items)
        with Progress(disable=not self.cascade.progress) as bars:
            training, held_out = self._real_music(clips, embedders, bars)
            domain = self.asked.domain if isinstance(self.asked, Starter) else "own"
            court = MetricSuite(
                clips,
                training,
                not self.asked.training,
                embedders,
                [load_joint(place) for place in self.joint],
                self.heard / (re.sub(r"\W+", "-", self.asked.name) + ".json"),
                self.prefix,
                self.command,
                self.cascade.seed,
            )
            repetition = None
            task = bars.add_task("Judging", total=None)
            steps: list[Callable[[], None]] = [
                court.distances,
                partial(court.words, held_out),
                court.similarities,
            ]
            if any(clip.truth for clip in training.clips):
                steps.append(partial(court.adherence, held_out[domain]))
            for number, step in enumerate(steps):
                step()
                bars.update(task, completed=number + 1, total=len(steps) + 1)
            if self.asked.training:
                check = RepetitionCheck(training, find_shards(self.asked.training, "train"))
                repetition = check(clips.made, clips.real)
                court.repetition(repetition)
            bars.update(task, completed=len(steps) + 1, total=len(steps) + 1)
            for stage in (self.cascade.refiner, self.cascade.super_resolution):
                if stage is not None and self.alone:
                    court.result.figures += self._alone(stage, items, embedders, bars)
        seconds = clips.made.shape[-1] / RATE
        court.result.notes += [
            f"{len(items)} prompts of {self.asked.name}, one clip each of {self.asked.seconds:g} s, of which "
            f"the middle {seconds:g} s are judged at {RATE} Hz; seed {self.cascade.seed}.",
            "musicnn trained on MagnaTagATune judges; it took no part in training or labelling.",
        ]
        write_metrics(self.folder / "evaluation.json", court.result.figures)
        title = f"Noise2Music, {self.cascade.route} route: {self.asked.name}"
        write_report(self.folder, title, court.result, clips, repetition)
        return court.result.figures

    def _real_music(
        self, clips: ClipPairs, embedders: Sequence[Embedder], bars: Progress
    ) -> tuple[Reference, dict[str, Reference]]:
        """What is heard in training music of the same domain, and in held-out music by domain."""
        if not isinstance(self.asked, Starter):
            own = embed_reference_clips(list(clips.real), embedders)
            return own, {"own": own}
        task = bars.add_task("Hearing real music", total=None)
        report = partial(_report, bars, task)
        files = {split: find_shards(self.asked.training, split) for split in ("train", *self.asked.splits)}
        everything = embed_shards(
            [f for found in files.values() for f in found], embedders, self.heard, report
        )
        training = {str(file.path) for file in files["train"]}
        inside = [shard in training for shard in everything.shards]
        known = [i for i, clip in enumerate(everything.clips) if self.asked.belongs(clip)]
        rest = [i for i, held in enumerate(inside) if not held]
        held_out = {
            "rendered": everything.take([i for i in rest if everything.clips[i].truth]),
            "recorded": everything.take([i for i in rest if not everything.clips[i].truth]),
        }
        return everything.take([i for i in known if inside[i]]), held_out

    def _clips(self, items: list[EvaluationItem]) -> ClipPairs:
        """GeneratedClip and real clips, cut to the middle 10 s, or to the shortest."""
        real = dict(self.asked.real(items, RATE))
        made = {item.key: read(self.folder / "generated" / f"{item.key}.flac").samples for item in items}
        shortest = min(audio.shape[-1] for audio in (*real.values(), *made.values()))
        seconds = min(EVALUATED_SECONDS, shortest / RATE)

        def cut(clips: dict[str, Tensor]) -> Tensor:
            return torch.stack([middle(clips[item.key], RATE, seconds) for item in items])

        # Another part of the real clip, where there is one: what comes before the middle.
        length = round(seconds * RATE)
        spare = all(audio.shape[-1] >= 3 * length for audio in real.values())
        other = torch.stack([real[item.key][:, :length] for item in items]) if spare else None
        return ClipPairs(items, cut(made), cut(real), other)

    def _alone(
        self, stage: Stage, items: list[EvaluationItem], embedders: Sequence[Embedder], bars: Progress
    ) -> list[MetricValue]:
        chosen, rate = items[: self.alone], stage.sample_rate
        real = dict(self.asked.real(chosen, rate))
        length = min(round(self.asked.seconds * rate), *(audio.shape[-1] for audio in real.values()))
        audio = torch.stack([middle(real[item.key], rate, length / rate) for item in chosen])
        # The tagger hears nothing above 8 kHz, where super-resolution has its work.
        judges = [*([load_embedder("musicnn")] if rate <= RATE else []), *embedders]
        return evaluate_refiner(
            stage,
            [item.key for item in chosen],
            [item.prompt for item in chosen],
            audio,
            self.folder / "alone" / type(stage).__name__,
            judges,
            self.cascade.seed,
            self.prefix,
            self.command,
            partial(_report, bars, bars.add_task(f"{type(stage).__name__} alone", total=None)),
        )


def _report(bars: Progress, task: TaskID, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)
