"""Generated samples in TensorBoard: audio with captions, spectrogram images, clip rate and metrics."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.callbacks.board import BoardLogger
from lightning_n2m.callbacks.training_progress import TrainingProgress
from lightning_n2m.data.schema import Batch
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage

TITLE_LETTERS = 90
KINDS = {
    "input": "what the stage refines.",
    "output": "generated with the averaged weights, always from the same noise.",
    "reference": "the recording.",
}


class SampleMetrics(ABC):
    """Metrics of generated samples beside their references, computed during a training.

    Attributes:
        clips: Number of validation clips that are generated.
    """

    clips: int

    @abstractmethod
    def __call__(
        self, generated: Tensor, reference: Tensor, captions: Sequence[str], sample_rate: int
    ) -> dict[str, float]:
        """Compute metric values by name.

        Args:
            generated: ``(n, 1, t)``.
            reference: The recordings of the same captions, ``(n, 1, t)``.
            captions: One a clip.
            sample_rate: In Hz.
        """


class SampleLogger(Callback):
    """Generates samples during validation, always for the same clips and prompts with the same noise.

    Each clip of the validation set becomes a group in TensorBoard: the input of the stage (if it refines a
    signal), its output and the reference, as audio and in one spectrogram image. Stages with text log their
    output at several guidance scales, generators also for additional prompts. Audio is not normalised, so
    that a wrong level is audible; ``clip_rate`` is the share of samples beyond full scale.

    Samples are generated inside validation, where the averaged weights are active.

    Args:
        clips: Number of clips; 0 for no samples.
        every_n_validations: Number of validations from one set of samples to the next.
        num_steps: Steps of the sampler.
        prompts: Prompts of a generator besides the captions of the clips.
        guidance_scales: Guidance scales besides the stage's own.
        evaluate: Metrics of generated samples, logged as ``evaluation/...`` at each set of samples; none for
            no metrics. ``lightning_n2m.evaluation.sample_metrics.TaggerMetrics`` measures musicnn's tags.
    """

    def __init__(
        self,
        clips: int = 2,
        every_n_validations: int = 1,
        num_steps: int = 50,
        prompts: Sequence[str] = ("a slow waltz for solo piano", "fast techno with drums and a synthesizer"),
        guidance_scales: Sequence[float] = (1.0, 5.0),
        evaluate: SampleMetrics | None = None,
    ) -> None:
        self.clips, self.every_n_validations, self.num_steps = clips, every_n_validations, num_steps
        self.prompts, self.guidance_scales = list(prompts), list(guidance_scales)
        self.evaluate = evaluate
        self.validations = 0

    def state_dict(self) -> dict[str, Any]:
        """Number of validations: a resumed run generates when the uninterrupted one would."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the number of validations."""
        self.validations = state_dict["validations"]

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Generate once a validation; a sharded network needs all ranks for it."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, Stage) or not self.clips:
            return
        self.validations += 1
        logger = trainer.logger
        if (self.validations - 1) % self.every_n_validations or not isinstance(logger, TensorBoardLogger):
            return
        is_logged = trainer.is_global_zero
        if is_logged or trainer.lightning_module._device_mesh is not None:
            board = logger.experiment if is_logged else None
            self._log_samples(trainer, pl_module, batch, board)
            if self.evaluate is not None:
                self._log_metrics(trainer, pl_module, batch, self.evaluate)

    @torch.no_grad()
    def _log_samples(self, trainer: pl.Trainer, stage: Stage, batch: Batch, board: Any) -> None:
        step = trainer.global_step
        bars = [callback for callback in trainer.callbacks if isinstance(callback, TrainingProgress)]  # type: ignore[attr-defined]
        audio = batch["audio"][: self.clips]
        captions, numbers = batch["caption"][: self.clips], batch["number"][: self.clips].tolist()
        names = [f"clip_{i}" for i in range(len(audio))]
        # Audio of each group by kind: input, outputs, reference.
        groups: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        signal = None
        if stage.conditioner is not None:
            signal = stage.conditioner.degrade(audio)
            _add(groups, names, "input", stage.conditioner.to_audio(signal, audio.shape[-1]))
        elif stage.text is not None:
            captions = captions + self.prompts
            names = names + [f"prompt_{i}" for i in range(len(self.prompts))]
            numbers = numbers + list(range(len(self.prompts)))
        clip_rates = {}
        sampling = stage.sampling
        own_scale = sampling.guidance.scale
        scales = sorted({*self.guidance_scales, own_scale}) if stage.text else [own_scale]
        try:
            for scale in scales:
                guidance = dataclasses.replace(sampling.guidance, scale=scale)
                stage.sampling = dataclasses.replace(sampling, num_steps=self.num_steps, guidance=guidance)
                rng = PerSampleGenerator("listen", numbers, stage.device)

                def show_steps(done: int, total: int, scale: float = scale) -> None:
                    for bar in bars:
                        bar.show(f"samples at guidance {scale:g}, {done}/{total}")

                seconds = audio.shape[-1] / stage.sample_rate
                output = stage.generate(captions, seconds, rng, signal, progress=show_steps)
                generated = stage.to_audio(output)
                kind = f"output_guidance_{scale:g}" if stage.text else "output"
                _add(groups, names, kind, generated)
                clip_rates[kind] = (generated.abs() > 1).float().mean()
        finally:
            stage.sampling = sampling
        _add(groups, names[: len(audio)], "reference", audio)
        if board is None:
            return
        logger = trainer.logger
        assert isinstance(logger, TensorBoardLogger)
        logger.log_metrics({f"clip_rate/{kind}": float(rate) for kind, rate in clip_rates.items()}, step)
        for name, caption in zip(names, captions, strict=True):
            board.add_text(f"{name}/text", caption or "(no text)", step)
            for kind, clip in groups[name].items():
                _add_clip(logger, f"{name}/{kind}", clip.clamp(-1, 1), stage.sample_rate, step, caption)
            board.add_figure(
                f"{name}/spectrograms", _spectrogram_image(groups[name], stage.sample_rate), step
            )

    @torch.no_grad()
    def _log_metrics(self, trainer: pl.Trainer, stage: Stage, batch: Batch, evaluate: SampleMetrics) -> None:
        """Generate for more clips, with the stage's own guidance, and measure the result."""
        audio, captions = batch["audio"][: evaluate.clips], batch["caption"][: evaluate.clips]
        rng = PerSampleGenerator("listen", batch["number"][: evaluate.clips].tolist(), stage.device)
        signal = None if stage.conditioner is None else stage.conditioner.degrade(audio)
        sampling = stage.sampling
        try:
            stage.sampling = dataclasses.replace(sampling, num_steps=self.num_steps)
            output = stage.generate(captions, audio.shape[-1] / stage.sample_rate, rng, signal)
        finally:
            stage.sampling = sampling
        if trainer.is_global_zero:
            generated = stage.to_audio(output).float()
            values = evaluate(generated, audio.float(), captions, stage.sample_rate)
            assert trainer.logger is not None
            points = {f"evaluation/{name}": value for name, value in values.items()}
            trainer.logger.log_metrics(points, trainer.global_step)


def _add_clip(
    logger: TensorBoardLogger, tag: str, clip: Tensor, sample_rate: int, step: int, caption: str
) -> None:
    """Log a clip; its caption becomes the title of the player."""
    if not isinstance(logger, BoardLogger):
        logger.experiment.add_audio(tag, clip, step, sample_rate)
        return
    name, _, kind = tag.partition("/")
    kind = kind.replace("_guidance_", ", guidance ")
    words = " ".join(caption.split()) or "(no text)"
    title = f"{words[:TITLE_LETTERS]}{'...' if len(words) > TITLE_LETTERS else ''} ({kind})"
    meaning = KINDS.get(kind.partition(",")[0], "")
    logger.log_clip(tag, clip, sample_rate, step, title, f"**{name}, {kind}**: {meaning}\n\n{words}")


def _add(groups: dict[str, dict[str, Tensor]], names: Sequence[str], kind: str, audio: Tensor) -> None:
    for name, clip in zip(names, audio.float().cpu(), strict=True):
        groups.setdefault(name, {})[kind] = clip


def _spectrogram_image(clips: Mapping[str, Tensor], sample_rate: int) -> Any:
    """Figure with the log-mels of clips ``(1, t)`` one below the other, which fits TensorBoard's cards."""
    from matplotlib.figure import Figure

    settings = MelSettings(sample_rate=sample_rate, hop=sample_rate // 100, f_max=sample_rate / 2)
    figure = Figure(figsize=(5, 1.2 * len(clips) + 0.6), layout="constrained")
    panels = figure.subplots(len(clips), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (kind, audio) in zip(panels, clips.items(), strict=True):
        image = log_mel(audio[None], settings)[0].numpy()
        extent = (0, audio.shape[-1] / sample_rate, 0, len(image))
        axes.imshow(image, origin="lower", aspect="auto", extent=extent, vmin=-1, vmax=1)
        axes.set(ylabel=kind.replace("_guidance_", "\nguidance "), yticks=())
    panels[-1].set(xlabel="seconds")
    return figure
