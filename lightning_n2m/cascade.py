"""The cascade: text to 24 kHz music, through three stages that know nothing of one another."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, cast

from lightning.pytorch import LightningModule
from rich.progress import Progress, TaskID
from torch import Tensor, nn

from lightning_n2m.conditioning.lowres import LowResolution
from lightning_n2m.diffusion.sampler import Method
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import load_stage
from lightning_n2m.stages.cascaders import SpectrogramVocoder, SuperResolution, WaveformCascader
from lightning_n2m.stages.generators import SpectrogramGenerator, WaveformGenerator
from lightning_n2m.stages.result import GeneratedClip


@dataclass(frozen=True)
class StageRun:
    """Which stage to run, and how where that differs from the stage's own config.

    Args:
        folder: Folder of the trained stage.
        num_steps: Number of steps.
        guidance: Guidance scale.
        step_schedule: Step list, by name.
        reverse_schedule: Turn the step list round: front-heavy into back-heavy.
        method: Sampler.
        gamma: Stochasticity of the ancestral sampler.
        conditioning_noise: Diffusion time to which the signal of the stage before is noised.
        consistency_iterations: How often the output is brought nearer to what that signal says.
    """

    folder: str
    num_steps: int | None = None
    guidance: float | None = None
    step_schedule: str | None = None
    reverse_schedule: bool | None = None
    method: Method | None = None
    gamma: float | None = None
    conditioning_noise: float | None = None
    consistency_iterations: int | None = None

    def load(self) -> Stage:
        """The stage with its sampling settings overruled."""
        stage = load_stage(self.folder)
        chosen = {
            name: value
            for name, value in dataclasses.asdict(self).items()
            if value is not None and name not in ("folder", "guidance")
        }
        if self.guidance is not None:
            chosen["guidance"] = dataclasses.replace(stage.sampling.guidance, scale=self.guidance)
        stage.sampling = dataclasses.replace(stage.sampling, **chosen)
        return stage


class Cascade(LightningModule):
    """Generator, refiner and super-resolution in a row (section 3.3).

    The waveform route refines by a cascader, the spectrogram route by a vocoder.

    Args:
        generator: Text to 3.2 kHz audio, or to a log-mel.
        refiner: Either of them to 16 kHz audio.
        super_resolution: 16 kHz audio to 24 kHz audio; null to stop at 16 kHz, as the
            paper's evaluation does.
        seconds: Length of the music.
        seed: Seed of all noise.
        negative: Prompt to lead away from.
        progress: Show a bar for each stage.

    Raises:
        InputError: if a folder holds another kind of stage, or two stages do not fit together.
    """

    def __init__(
        self,
        generator: StageRun,
        refiner: StageRun,
        super_resolution: StageRun | None = None,
        seconds: float = 30.0,
        seed: int = 0,
        negative: str = "",
        progress: bool = True,
    ) -> None:
        super().__init__()
        if seconds <= 0:
            raise InputError(f"model.seconds is {seconds:g}; give a length above 0.")
        runs = [generator, refiner] + ([super_resolution] if super_resolution else [])
        self.stages = nn.ModuleList(run.load() for run in runs)
        self.seconds, self.seed, self.negative, self.progress = seconds, seed, negative, progress
        self._check([run.folder for run in runs])

    def _check(self, folders: list[str]) -> None:
        """Refuse stages in the wrong place and neighbours that speak of different signals."""
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
                    f"{folder} refines {low} Hz audio, but the stage before makes {before.sample_rate} Hz."
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
        """``waveform`` or ``spectrogram``: the form that the generator makes (section 3.3)."""
        return "spectrogram" if isinstance(self.generator, SpectrogramGenerator) else "waveform"

    @property
    def generator(self) -> Stage:
        """The first stage."""
        return self._row[0]

    @property
    def refiner(self) -> Stage:
        """The second stage, which makes 16 kHz audio."""
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
    ) -> Tensor:
        """Music for prompts, ``(b, 1, seconds * rate of the last stage)``.

        Args:
            prompts: One prompt a clip.
            numbers: Number of each clip's noise: the same seed and number give the same noise,
                whatever else is in the batch.
            seconds: Length, if not the cascade's own.
            stages: How many stages to run; all when null.
        """
        signal: Tensor | None = None
        length = self.seconds if seconds is None else seconds
        with Progress(disable=not self.progress) as bars:
            for stage in self._row[:stages]:
                name = type(stage).__name__
                task = bars.add_task(f"{name}, {stage.sampling}, seed {self.seed}", total=None)

                def report(done: int, total: int, task: TaskID = task) -> None:
                    bars.update(task, completed=done, total=total)

                rng = PerSampleGenerator(f"{self.seed} {name}", numbers, self.device)
                signal = stage.generate(prompts, length, rng, signal, self.negative, report)
        assert signal is not None
        return signal

    def predict_step(self, batch: list[dict[str, Any]], batch_idx: int) -> list[GeneratedClip]:
        """Music for a batch of `lightning_n2m.data.prompts.Prompts`.

        An empty batch, of a rank that has fewer prompts than others, gives no music.
        """
        if not batch:
            return []
        audio = self.generate([item["prompt"] for item in batch], [item["variation"] for item in batch])
        stages = [{"stage": type(s).__name__, **dataclasses.asdict(s.sampling)} for s in self._row]
        shared = {"seed": self.seed, "seconds": self.seconds, "negative": self.negative, "stages": stages}
        return [
            GeneratedClip(row, self.sample_rate, self._name(item), {**item, **shared})
            for row, item in zip(audio, batch, strict=True)
        ]

    def test_step(self, batch: list[dict[str, Any]], batch_idx: int) -> dict[str, list[GeneratedClip]]:
        """One clip a prompt at 16 kHz, before super-resolution: the paper's protocol (section 5.1).

        The batch is that of `lightning_n2m.data.prompts.Prompts` with an evaluation set; an empty one,
        of which all clips are there, makes nothing.
        """
        if not batch:
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
        words = re.sub(r"\W+", "-", item["prompt"].lower()).strip("-")[:60] or "prompt"
        return f"{words}-seed{self.seed}" + (f"-{item['variation']}" if item["variation"] else "")
