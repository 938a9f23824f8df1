"""Evaluation of the clips that a cascade generated: features, metrics, refiners, report."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.progress import Progress, TaskID
from torch import Tensor

from lightning_n2m import heartbeat
from lightning_n2m.audio.degradations import add_noise, white_noise
from lightning_n2m.audio.io import read, to_mono, write
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.cascade import Cascade
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet
from lightning_n2m.data.prompt_attributes import parse_prompt
from lightning_n2m.data.shard_reader import ShardFile, find_shards
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.attribute_predictions import (
    AttributeProbes,
    estimate_tempo_and_key,
    read_tempo_and_key,
    write_tempo_and_key,
)
from lightning_n2m.evaluation.clip_features import ClipFeatures, compute_features, embed_clips
from lightning_n2m.evaluation.embedders import MUSICNN, Embedder, load_embedder, load_joint_on
from lightning_n2m.evaluation.envelopes import loudness_envelope
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.evaluation.excerpts import Excerpts
from lightning_n2m.evaluation.memorisation import MemorisationCheck
from lightning_n2m.evaluation.metric import MetricValue, write_metrics
from lightning_n2m.evaluation.metric_suite import MetricSuite
from lightning_n2m.evaluation.metrics.distances import NOISE
from lightning_n2m.evaluation.reference_embeddings import (
    RATE,
    EmbeddingSettings,
    Reference,
    embed_shards,
    middle,
)
from lightning_n2m.evaluation.refiner import RefinerClips, evaluate_refiner
from lightning_n2m.evaluation.report import write_report
from lightning_n2m.evaluation.spectral_lines import clip_spectrum
from lightning_n2m.stages.base import Stage

DEGRADED_CLIPS = 128  # references whose degraded versions are embedded
_DEGRADATIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "reference + noise 20 dB": lambda audio, seed: add_noise(audio, 20, seed),
    "reference + noise 5 dB": lambda audio, seed: add_noise(audio, 5, seed),
    NOISE: white_noise,
}


@dataclass(frozen=True)
class EvaluatorSettings:
    """Settings of an evaluation.

    Args:
        cache: Folder of the embeddings of reference recordings.
        embedders: Names of embedders for distances, beside the evaluating tagger.
        joint_models: Locations of joint models for similarities.
        refiner_clips: Number of references on which refiner and super-resolution are evaluated.
        one_seed_clips: Number of prompts that are also generated from one noise.
        command: Command that measures again.
    """

    cache: Path
    embedders: Sequence[str]
    joint_models: Sequence[str]
    refiner_clips: int
    one_seed_clips: int
    command: str


class CascadeEvaluator:
    """Evaluates the clips in ``FOLDER/generated`` and writes metrics and report into the folder.

    Audio is read a few clips at a time, and models compute on the cascade's device.

    Args:
        cascade: The cascade that generated the clips.
        evaluation_set: Its prompts and their references.
        folder: Folder of the evaluation.
        settings: What to measure.
    """

    def __init__(
        self, cascade: Cascade, evaluation_set: EvaluationSet, folder: Path, settings: EvaluatorSettings
    ) -> None:
        self.cascade, self.evaluation_set = cascade, evaluation_set
        self.folder, self.settings = folder, settings
        self.device = cascade.device
        self.embedders: list[Embedder] = [load_embedder("musicnn")]
        for name in settings.embedders:
            self.embedders.append(load_embedder(name, self.device))
        self.joint_models = [load_joint_on(place, self.device) for place in settings.joint_models]
        self.notes: list[str] = []

    def __call__(self) -> list[MetricValue]:
        """Measure, write ``evaluation.json`` and the report, and return the metric values.

        Raises:
            InputError: if clips are missing or damaged, or too short for the evaluation models.
        """
        excerpts = Excerpts.of(self.evaluation_set, self.folder)
        command = self.settings.command
        prefix = f"{self.cascade.route}{self.evaluation_set.metric_label}: "
        with Progress(disable=not self.cascade.progress) as bars:
            if not sys.stderr.isatty():
                heartbeat.set_line(lambda: _line(bars))
            data = self._data(excerpts, bars)
            result = MetricSuite(prefix, command)(data)
            for stage in (self.cascade.refiner, self.cascade.super_resolution):
                if stage is not None and self.settings.refiner_clips:
                    result.metrics += [
                        dataclasses.replace(value, name=f"{prefix}{value.name}", command=command)
                        for value in self._evaluate_refiner(stage, excerpts, bars)
                    ]
        name = self.evaluation_set.name
        result.notes += [
            f"{len(excerpts.items)} prompts of {name}, one clip each of {self.evaluation_set.seconds:g} s, "
            f"of which the middle {excerpts.seconds:g} s are evaluated at {RATE} Hz; "
            f"seed {self.cascade.seed}.",
            "The evaluating tagger is musicnn trained on MagnaTagATune; it took no part in training or "
            "labelling.",
            *excerpts.notes,
            *self.notes,
        ]
        write_metrics(self.folder / "evaluation.json", result.metrics)
        title = f"Noise2Music, {self.cascade.route} route: {name}"
        write_report(self.folder, title, result, excerpts)
        return result.metrics

    def _data(self, excerpts: Excerpts, bars: Progress) -> EvaluationData:
        """Everything that the metrics are computed from."""
        items = excerpts.items
        task = bars.add_task("Evaluating", total=5)
        references, other_logits = excerpts.write_references(self._features, self.device)
        bars.update(task, advance=1)
        generated = self._features(excerpts.generated())
        bars.update(task, advance=1)
        training, held_out, training_files = self._recordings(references, excerpts.seconds, bars)
        bars.update(task, advance=1)
        memorisation = None
        if training_files:
            check = MemorisationCheck(training, training_files, self.device)
            memorisation = check(excerpts.generated(), excerpts.references(), excerpts.samples)
        bars.update(task, advance=1)
        has_truth = any(clip.truth for clip in training.clips)
        generated_tempo_key, reference_tempo_key = self._tempo_and_key(excerpts, has_truth)
        data = EvaluationData(
            items=items,
            generated=generated,
            references=references,
            training=training,
            has_training=bool(training_files),
            held_out=held_out,
            domain=self.evaluation_set.domain if isinstance(self.evaluation_set, Starter) else "own",
            joint_models=self.joint_models,
            embedder_rates={e.name: e.sample_rate for e in self.embedders},
            degraded=self._degraded(excerpts),
            other_part_logits=other_logits,
            generated_tempo_key=generated_tempo_key,
            reference_tempo_key=reference_tempo_key,
            probes=AttributeProbes(training) if has_truth else None,
            memorisation=memorisation,
            **self._one_seed(items),
            seed=self.cascade.seed,
        )
        bars.update(task, advance=1)
        return data

    def _features(self, clips: Iterator[Tensor]) -> ClipFeatures:
        return compute_features(clips, self.embedders, self.joint_models, self.device)

    def _recordings(
        self, references: ClipFeatures, seconds: float, bars: Progress
    ) -> tuple[Reference, dict[str, Reference], list[ShardFile]]:
        """Embeddings of training music of the domain and of held-out music by domain; training shards."""
        source = self.evaluation_set
        own = Reference((), (), references.tagger_embedding[:, None], references.logits, references.embedded)
        if not isinstance(source, Starter):
            return own, {"own": own}, []
        try:
            training_files = find_shards(source.training, "train")
        except InputError:
            self.notes.append("The shards have no training split; distances are to the set's own references.")
            return own, {source.domain: own}, []
        files = [*training_files, *source.held_out_shards()]
        report = partial(_report, bars, bars.add_task("Embedding reference recordings", total=None))
        settings = EmbeddingSettings(tuple(self.embedders), seconds, str(self.device))
        everything = embed_shards(files, settings, self.settings.cache, report)
        training_paths = {str(file.path) for file in training_files}
        is_training = [shard in training_paths for shard in everything.shards]
        numbers = range(len(everything.clips))
        training = [i for i in numbers if is_training[i] and source.has_domain(everything.clips[i])]
        held_out = [i for i in numbers if not is_training[i]]
        by_domain = {
            "rendered": everything.take([i for i in held_out if everything.clips[i].truth]),
            "recorded": everything.take([i for i in held_out if not everything.clips[i].truth]),
        }
        if len(training) < 2:
            self.notes.append(
                f"The training split has no {source.domain} music; distances are to the set's own references."
            )
            return own, by_domain, []
        return everything.take(training), by_domain, training_files

    def _degraded(self, excerpts: Excerpts) -> dict[str, dict[str, Tensor]]:
        """Embeddings of degraded references, by degradation and embedder."""
        seed = self.cascade.seed
        embedded: dict[str, dict[str, Tensor]] = {}
        for name, degrade in _DEGRADATIONS.items():
            for embedder in self.embedders:
                clips = itertools.islice(excerpts.references(), DEGRADED_CLIPS)
                degraded = (degrade(clip[None], seed)[0] for clip in clips)
                embedded.setdefault(name, {})[embedder.name] = embed_clips(degraded, embedder, self.device)
        return embedded

    def _tempo_and_key(
        self, excerpts: Excerpts, all_references: bool
    ) -> tuple[dict[str, tuple[float, tuple[str, str]]], dict[str, tuple[float, tuple[str, str]]]]:
        """Tempo and key of generated clips and references; empty if no prompt requests them."""
        requests = {item.key: parse_prompt(item.prompt) for item in excerpts.items}
        requested = {key for key, request in requests.items() if request.tempo or request.key}
        if not requested:
            return {}, {}
        if importlib.util.find_spec("librosa") is None:
            self.notes.append(
                "Tempo and key are not measured: librosa is not installed (pip install librosa)."
            )
            return {}, {}
        named = zip((item.key for item in excerpts.items), excerpts.generated(), strict=True)
        generated = estimate_tempo_and_key(((k, x) for k, x in named if k in requested), requests)
        # References are the same in every evaluation of this set.
        slug = re.sub(r"\W+", "-", self.evaluation_set.name)
        file = self.settings.cache / f"{slug}-{excerpts.seconds:g}s.json"
        estimates = read_tempo_and_key(file)
        named = zip((item.key for item in excerpts.items), excerpts.references(), strict=True)
        wanted = requests.keys() if all_references else requested
        missing = ((k, x) for k, x in named if k in wanted and k not in estimates)
        estimates |= estimate_tempo_and_key(missing)
        write_tempo_and_key(file, estimates)
        return generated, estimates

    def _one_seed(self, items: Sequence[EvaluationItem]) -> dict[str, Tensor]:
        """Loudness and spectra of the first prompts: all from one noise, and as they were generated.

        Returns:
            Fields of `EvaluationData`; none for fewer than two prompts.
        """
        chosen = items[: self.settings.one_seed_clips]
        if len(chosen) < 2:
            return {}
        folder = self.folder / "one_seed"
        folder.mkdir(parents=True, exist_ok=True)
        rate = self.cascade.refiner.sample_rate
        missing = [item for item in chosen if not (folder / f"{item.key}.flac").is_file()]
        for start in range(0, len(missing), 4):
            part = missing[start : start + 4]
            prompts, numbers = [item.prompt for item in part], [0] * len(part)
            audio = self.cascade.generate(prompts, numbers, self.evaluation_set.seconds, stages=2)
            for item, clip in zip(part, audio.float().cpu(), strict=True):
                write(folder / f"{item.key}.flac", clip, rate)
        fields = {}
        for kind, name in (("one_seed", "one_seed"), ("generated", "other_seed")):
            clips = [read(self.folder / kind / f"{item.key}.flac") for item in chosen]
            fields[f"{name}_envelopes"] = torch.cat([
                loudness_envelope(clip.samples[None], rate) for clip in clips
            ])  # fmt: skip
            fields[f"{name}_spectra"] = torch.cat([
                clip_spectrum(resample_file(to_mono(clip.samples), clip.sample_rate, RATE)[None])
                for clip in clips
            ])  # fmt: skip
        return fields

    def _evaluate_refiner(self, stage: Stage, excerpts: Excerpts, bars: Progress) -> list[MetricValue]:
        """Evaluate a refiner or super-resolution on the first references, at its own rate."""
        items, rate = list(excerpts.items[: self.settings.refiner_clips]), stage.sample_rate
        audio_by_key = dict(self.evaluation_set.references(items, rate))
        lengths = [audio.shape[-1] for audio in audio_by_key.values()]
        frame = rate // 100  # log-mels have whole frames of 10 ms
        length = min(round(self.evaluation_set.seconds * rate), *lengths) // frame * frame
        clips = RefinerClips(
            [item.key for item in items],
            [item.prompt for item in items],
            torch.stack([middle(audio_by_key[item.key], rate, length / rate) for item in items]),
        )
        name = type(stage).__name__
        report = partial(_report, bars, bars.add_task(f"{name} on ground-truth input", total=None))
        # The tagger's input ends at 8 kHz, where the band that super-resolution adds begins.
        embedders = [e for e in self.embedders if rate <= RATE or e.name != MUSICNN]
        return evaluate_refiner(
            stage, clips, self.folder / "refiners" / name, embedders, self.cascade.seed, report
        )


def _line(bars: Progress) -> str:
    """The bars as one line of text."""
    return ", ".join(f"{task.description} {task.completed:g}/{task.total or 0:g}" for task in bars.tasks)


def _report(bars: Progress, task: TaskID, done: int, total: int) -> None:
    bars.update(task, completed=done, total=total)
