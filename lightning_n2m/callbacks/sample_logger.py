"""Listening in TensorBoard: audio, spectrogram pictures and clip rate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.data.schema import Batch
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage


class SampleLogger(Callback):
    """Draws samples during validation, always of the same clips and prompts with the same noise.

    Each clip of the validation set becomes a group in TensorBoard: what the stage is given (if it refines
    a signal), what it makes of it, and the truth, to be heard side by side and seen in one picture.
    Stages with text show their output at several guidance scales, generators also for prompts of one's
    own. Loudness is left as it is: a normalised clip would hide a wrong level; ``clip_rate`` is the
    share of samples beyond full scale.

    It works inside validation, where the averaged weights are live.

    Args:
        clips: Number of clips; 0 to draw nothing at all.
        every_n_validations: Draw at every so many validations; sampling takes many network evaluations.
        num_steps: Steps of the sampler.
        prompts: What a generator is asked for besides the captions of the clips.
        guidance_scales: Guidance scales, besides the stage's own.
    """

    def __init__(
        self,
        clips: int = 2,
        every_n_validations: int = 1,
        num_steps: int = 50,
        prompts: Sequence[str] = ("a slow waltz for solo piano", "fast techno with drums and a synthesizer"),
        guidance_scales: Sequence[float] = (1.0, 5.0),
    ) -> None:
        self.clips, self.every_n_validations, self.num_steps = clips, every_n_validations, num_steps
        self.prompts, self.guidance_scales = list(prompts), list(guidance_scales)
        self.validations = 0

    def state_dict(self) -> dict[str, Any]:
        """Validations so far: a resumed run draws when the uninterrupted one would."""
        return {"validations": self.validations}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
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
        """Draw once a validation: every rank makes the same, since a sharded network needs them all."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, Stage) or not self.clips:
            return
        self.validations += 1
        logger = trainer.logger
        if (self.validations - 1) % self.every_n_validations or not isinstance(logger, TensorBoardLogger):
            return
        shows = trainer.is_global_zero
        if shows or trainer.lightning_module._device_mesh is not None:
            self._draw(pl_module, batch, logger.experiment if shows else None, trainer.global_step)

    @torch.no_grad()
    def _draw(self, stage: Stage, batch: Batch, board: Any, step: int) -> None:
        audio = batch["audio"][: self.clips]
        captions, numbers = batch["caption"][: self.clips], batch["number"][: self.clips].tolist()
        names = [f"clip_{i}" for i in range(len(audio))]
        shown: dict[str, dict[str, Tensor]] = {name: {} for name in names}
        signal = None
        if stage.conditioner is not None:
            signal = stage.conditioner.degrade(audio)
            heard = stage.conditioner.to_audio(signal, audio.shape[-1])
            _add(shown, names, "input", heard)
        elif stage.text is not None:
            captions = captions + self.prompts
            names = names + [f"prompt_{i}" for i in range(len(self.prompts))]
            numbers = numbers + list(range(len(self.prompts)))
        rates = {}
        chosen = stage.sampling
        scales = (
            sorted({*self.guidance_scales, chosen.guidance.scale}) if stage.text else [chosen.guidance.scale]
        )
        try:
            for scale in scales:
                guidance = dataclasses.replace(chosen.guidance, scale=scale)
                stage.sampling = dataclasses.replace(chosen, num_steps=self.num_steps, guidance=guidance)
                rng = PerSampleGenerator("listen", numbers, stage.device)
                output = stage.generate(captions, audio.shape[-1] / stage.sample_rate, rng, signal)
                made = stage.to_audio(output)
                kind = f"output_guidance_{scale:g}" if stage.text else "output"
                _add(shown, names, kind, made)
                rates[kind] = (made.abs() > 1).float().mean()
        finally:
            stage.sampling = chosen
        _add(shown, names[: len(audio)], "truth", audio)
        if board is None:
            return
        for kind, rate in rates.items():
            board.add_scalar(f"clip_rate/{kind}", rate, step)
        for name, caption in zip(names, captions, strict=True):
            board.add_text(f"{name}/text", caption or "(no text)", step)
            for kind, clip in shown[name].items():
                board.add_audio(f"{name}/{kind}", clip.clamp(-1, 1), step, stage.sample_rate)
            board.add_figure(f"{name}/spectrograms", _picture(shown[name], stage.sample_rate), step)


def _add(shown: dict[str, dict[str, Tensor]], names: Sequence[str], kind: str, audio: Tensor) -> None:
    for name, clip in zip(names, audio.float().cpu(), strict=True):
        shown.setdefault(name, {})[kind] = clip


def _picture(clips: Mapping[str, Tensor], sample_rate: int) -> Any:
    """Figure of the log-mels of clips ``(1, t)``, one below the other: TensorBoard's cards are high."""
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
