"""The cascade: text to 24 kHz music, through three independently trained stages."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable
from typing import Any, cast

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.data.editing import Edit
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.diffusion.known import Known
from lightning_n2m.editing import Run, edit_music, whole_recording
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.mulan.joint import fingerprint
from lightning_n2m.progress import SamplingProgress
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.cascaders import SpectrogramVocoder, SuperResolution, WaveformCascader
from lightning_n2m.stages.generators import SpectrogramGenerator, WaveformGenerator
from lightning_n2m.stages.result import GeneratedClip, StageProgress
from lightning_n2m.stages.stage_run import StageRun

MAX_SECONDS = 3600.0


class Cascade(LightningModule):
    """Generator, refiner and super-resolution in a row (section 3.3).

    In the waveform route the refiner is a cascader, in the spectrogram route a vocoder.

    Args:
        generator: Text to 3.2 kHz audio, or to a log-mel.
        refiner: Either of them to 16 kHz audio.
        super_resolution: 16 kHz audio to 24 kHz audio; null to stop at 16 kHz, as the
            paper's evaluation does.
        seconds: Length of the music, at most one hour.
        seed: Seed of all noise.
        negative: Prompt to lead away from.
        progress: Show the progress on standard error.
        bpm: Tempo in beats per minute; in the words of the prompt for a generator that has no input for it.
        key: Key, for instance ``D minor``; likewise.

    Raises:
        InputError: if a folder holds another kind of stage, two stages do not fit together, or a setting is
            out of range.
    """

    requested = RequestedNumbers()

    def __init__(
        self,
        generator: StageRun,
        refiner: StageRun,
        super_resolution: StageRun | None = None,
        seconds: float = 30.0,
        seed: int = 0,
        negative: str = "",
        progress: bool = True,
        bpm: float | None = None,
        key: str | None = None,
    ) -> None:
        super().__init__()
        check_range("model.seconds", seconds, 0.01, MAX_SECONDS)
        check_range("model.seed", seed, -(2**63), 2**64)
        runs = [generator, refiner] + ([super_resolution] if super_resolution else [])
        self.stages = nn.ModuleList(run.load() for run in runs)
        self.seconds, self.seed, self.negative, self.progress = seconds, seed, negative, progress
        self.requested = RequestedNumbers.parse(bpm, key)
        # A recording to edit, or a plan of sections; `generate` makes clips of prompts where there is none.
        self.edit: Edit | None = None
        self._running: SamplingProgress | None = None
        self._check([run.folder for run in runs])

    def _check(self, folders: list[str]) -> None:
        """Refuse a stage in the wrong place, and neighbours with different rates or log-mels."""
        first, second, *rest = self._row
        if not isinstance(first, WaveformGenerator | SpectrogramGenerator):
            raise InputError(
                f"{folders[0]} holds a {type(first).__name__}; model.generator needs a generator."
            )
        needed = WaveformCascader if isinstance(first, WaveformGenerator) else SpectrogramVocoder
        if not isinstance(second, needed):
            raise InputError(
                f"{folders[1]} holds a {type(second).__name__}; after this generator comes a "
                f"{needed.__name__}."
            )
        if isinstance(second, SpectrogramVocoder) and second.mel != first.mel:
            raise InputError(
                f"{folders[0]} and {folders[1]} were trained on different log-mels; retrain one of them."
            )
        if rest and not isinstance(rest[0], SuperResolution):
            raise InputError(
                f"{folders[2]} holds a {type(rest[0]).__name__}; model.super_resolution needs a "
                "SuperResolution."
            )
        for before, after, folder in zip(self._row, self._row[1:], folders[1:], strict=False):
            low = (
                after.conditioner.rate if isinstance(after.conditioner, LowResolution) else before.sample_rate
            )
            if low != before.sample_rate:
                raise InputError(
                    f"{folder} refines {low} Hz audio, but its input has {before.sample_rate} Hz."
                )

    @property
    def _row(self) -> list[Stage]:
        return cast("list[Stage]", list(self.stages))

    @property
    def sample_rate(self) -> int:
        """Rate of the music in Hz."""
        return self._row[-1].sample_rate

    @property
    def route(self) -> str:
        """``waveform`` or ``spectrogram``: what the generator generates (section 3.3)."""
        return "spectrogram" if isinstance(self.generator, SpectrogramGenerator) else "waveform"

    @property
    def generator(self) -> Stage:
        """The first stage."""
        return self._row[0]

    @property
    def refiner(self) -> Stage:
        """The second stage, which generates 16 kHz audio."""
        return self._row[1]

    @property
    def super_resolution(self) -> Stage | None:
        """The third stage, if there is one."""
        return self._row[2] if len(self._row) > 2 else None

    def generate(
        self,
        prompts: list[str],
        numbers: list[int],
        seconds: float | None = None,
        stages: int | None = None,
        observe: Callable[[StageProgress], None] | None = None,
    ) -> Tensor:
        """Music for prompts, ``(b, 1, seconds * rate of the last stage)``.

        Args:
            prompts: One prompt for each clip.
            numbers: Number of each clip's noise: the same seed and number give the same noise,
                independent of the rest of the batch.
            seconds: Length, if not the cascade's own.
            stages: How many stages to run; all when null.
            observe: Called after each step, and with the output of each stage. What it raises ends the
                generation.

        Raises:
            InputError: if a stage generates NaN or infinite samples.
        """
        length = self.seconds if seconds is None else seconds
        if self.edit is not None:
            length = self.edit.seconds

        def run(progress: SamplingProgress | None) -> Tensor:
            if self.edit is None or self.edit.keeps_nothing:
                return self._run_stages(prompts, numbers, length, stages, progress, observe)
            return self._run_edit(self.edit, prompts, numbers, progress, observe)

        if self._running is not None:
            try:
                return run(self._running)
            except BaseException:
                self._end_progress()
                raise
        if not self.progress:
            return run(None)
        with self._new_progress(1, len(prompts), length, stages) as progress:
            return run(progress)

    def _run_edit(
        self,
        edit: Edit,
        prompts: list[str],
        numbers: list[int],
        progress: SamplingProgress | None,
        observe: Callable[[StageProgress], None] | None,
    ) -> Tensor:
        """Generate the pieces of a plan one after the other; all else is the recording."""

        def report(number: int, done: int, total: int) -> None:
            if progress is not None:
                progress.step(done, total)
            if observe is not None:
                observe(StageProgress(self._row[number], number, len(self._row), done, total))

        run = Run(
            stages=self._row,
            prompts=prompts,
            numbers=numbers,
            seed=self.seed,
            negative=self.negative,
            requested=self.requested,
            start_stage=None if progress is None else progress.start_stage,
            report=report,
        )
        audio = edit_music(edit, run, None if progress is None else functools.partial(progress.end_batch, 0))
        if progress is not None:
            progress.clips += len(prompts)
        return audio

    def _run_stages(
        self,
        prompts: list[str],
        numbers: list[int],
        seconds: float,
        stages: int | None,
        progress: SamplingProgress | None,
        observe: Callable[[StageProgress], None] | None,
    ) -> Tensor:
        numbers_of_clips = [self.requested.numbers(prompt) for prompt in prompts]
        names = self.generator.network.number_names
        prompts = [self.requested.prompt_for(prompt, names) for prompt in prompts]
        signal: Tensor | None = None
        row = self._row[:stages]
        # A variation starts the generator from the recording, and the other stages as always.
        known: Known | None = None
        if self.edit is not None:
            known = whole_recording(self.edit, self.generator, seconds, len(prompts))
        for number, stage in enumerate(row):
            name = type(stage).__name__
            if progress is not None:
                progress.start_stage(number)
            rng = PerSampleGenerator(f"{self.seed} {name}", numbers, self.device)

            def report(done: int, total: int, number: int = number, stage: Stage = stage) -> None:
                if progress is not None:
                    progress.step(done, total)
                if observe is not None:
                    observe(StageProgress(stage, number, len(row), done, total))

            signal = stage.generate(
                prompts, seconds, rng, signal, self.negative, report, numbers_of_clips, known
            )
            known = None
            if not torch.isfinite(signal).all():
                raise InputError(
                    f"{name} generated NaN or infinite samples, and nothing was written; use other weights, "
                    "or --trainer.precision 32-true."
                )
            if observe is not None:
                observe(StageProgress(stage, number, len(row), 1, 1, signal))
        if progress is not None:
            progress.end_batch(len(prompts))
        assert signal is not None
        return signal

    def _new_progress(self, batches: int, clips: int, seconds: float, stages: int | None) -> SamplingProgress:
        row = self._row[:stages]
        if self.edit is not None and not self.edit.keeps_nothing:
            batches *= len(self.edit.pieces)
        return SamplingProgress(
            [type(stage).__name__ for stage in row], [_work(stage, seconds) for stage in row], batches, clips
        )

    def record(self, item: dict[str, Any]) -> dict[str, Any]:
        """All that decides a clip: prompt, seed, length, and settings and weights of each stage.

        Args:
            item: ``{"prompt": ..., "variation": ...}`` of `lightning_n2m.data.prompts.Prompts`.
        """
        edit = self.edit
        return {
            **item,
            "seed": self.seed,
            "seconds": self.seconds if edit is None else edit.seconds,
            "negative": self.negative,
            # Only where they are set: the records of clips that have neither stay as they were.
            **({} if self.requested.tempo is None else {"bpm": self.requested.tempo}),
            **({} if self.requested.key is None else {"key": " ".join(self.requested.key)}),
            **({} if edit is None else {"edit": edit.record}),
            "stages": [dict(stage) for stage in self._stage_records],
        }

    @property
    def _stage_records(self) -> list[dict[str, Any]]:
        return [
            {"stage": type(stage).__name__, "weights": weights, **dataclasses.asdict(stage.sampling)}
            for stage, weights in zip(self._row, self._weights, strict=True)
        ]

    @functools.cached_property
    def _weights(self) -> list[str]:
        """Fingerprint of the weights of each stage."""
        return [
            fingerprint(tensor for _, tensor in sorted(stage.network.state_dict().items()))
            for stage in self._row
        ]

    def token_counts(self, prompt: str) -> list[tuple[str, int, int]]:
        """Length of a prompt for each stage whose text encoder truncates it.

        Returns:
            Name of the stage, tokens of the prompt, and tokens that its encoder reads.
        """
        counts = []
        for stage in self._row:
            if stage.text is not None:
                limit = stage.text.max_tokens - stage.text.special_tokens
                tokens = stage.text.count_tokens(prompt)
                if tokens > limit:
                    counts.append((type(stage).__name__, tokens, limit))
        return counts

    def on_predict_start(self) -> None:
        """Begin the progress over all batches."""
        self._begin_progress(sum(map(int, self.trainer.num_predict_batches)), len(self._row))

    def on_test_start(self) -> None:
        """Begin the progress over all batches; super-resolution does not run."""
        self._begin_progress(sum(map(int, self.trainer.num_test_batches)), 2)

    def _begin_progress(self, batches: int, stages: int) -> None:
        if self.progress and self.trainer.is_global_zero:
            clips = batches * getattr(self.trainer.datamodule, "batch_size", 1)  # type: ignore[attr-defined]
            self._running = self._new_progress(batches, clips, self.seconds, stages).__enter__()

    def on_predict_epoch_end(self) -> None:
        """Remove the progress bar."""
        self._end_progress()

    def on_test_epoch_end(self) -> None:
        """Remove the progress bar."""
        self._end_progress()

    def _end_progress(self) -> None:
        if self._running is not None:
            self._running.__exit__(None, None, None)
            self._running = None

    def predict_step(self, batch: list[dict[str, Any]], batch_idx: int) -> list[GeneratedClip]:
        """Music for a batch of `lightning_n2m.data.prompts.Prompts`.

        An empty batch, of a rank that has fewer prompts than others, gives no music.
        """
        if not batch:
            return []
        audio = self.generate([item["prompt"] for item in batch], [item["variation"] for item in batch])
        return [
            GeneratedClip(row, self.sample_rate, self._name(item), self.record(item))
            for row, item in zip(audio, batch, strict=True)
        ]

    def test_step(self, batch: list[dict[str, Any]], batch_idx: int) -> dict[str, list[GeneratedClip]]:
        """One clip a prompt at 16 kHz, before super-resolution: the paper's protocol (section 5.1).

        The batch is that of `lightning_n2m.data.prompts.Prompts` with an evaluation set. It is empty where
        an earlier run has written all of its clips.
        """
        if not batch:
            if self._running is not None:
                self._running.end_batch(0)
            return {"generated": []}
        audio = self.generate(
            [item["prompt"] for item in batch],
            [item["variation"] for item in batch],
            batch[0]["seconds"],
            stages=2,
        )
        rate = self.refiner.sample_rate
        return {
            "generated": [
                GeneratedClip(row, rate, item["key"], dict(item))
                for row, item in zip(audio, batch, strict=True)
            ]
        }

    def _name(self, item: dict[str, Any]) -> str:
        """Stem of the file name, of at most 200 bytes: file systems allow 255 with the ending."""
        text = item["prompt"] or (self.edit.name if self.edit else "")
        words = re.sub(r"\W+", "-", text.lower()).strip("-")[:60]
        words = words.encode()[:150].decode(errors="ignore") or "prompt"
        return f"{words}-seed{self.seed}" + (f"-{item['variation']}" if item["variation"] else "")


def _work(stage: Stage, seconds: float) -> float:
    """Estimated work of a stage for one clip, to weigh the stages against each other before they have run.

    A level of a U-Net has about as many operations as parameters times steps. Half of the way down, in
    logarithms, stands for all levels.
    """
    steps = stage.sampling
    evaluations = len(steps.times()) - 1
    # A distilled stage computes guidance in its one pass.
    if stage.text is not None and steps.guidance.scale != 1 and steps.method != "few":
        evaluations *= 2
    parameters = sum(parameter.numel() for parameter in stage.network.parameters())
    return evaluations * parameters * seconds * stage.output_rate / math.sqrt(stage.network.total_stride)
