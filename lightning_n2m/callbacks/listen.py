"""Listening in TensorBoard: audio, spectrogram pictures and clip rate."""

from __future__ import annotations

import dataclasses
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.data.schema import Batch
from lightning_n2m.diffusion.random import SampleRandom
from lightning_n2m.stages.base import Stage


class Listen(Callback):
    """Draws samples for the first clips of the validation set and shows them in TensorBoard.

    It works inside validation, where the averaged weights are live. Loudness is left as it is: a
    normalised clip would hide a wrong level.

    Args:
        clips: Number of clips; 0 for none.
        every: Draw at every so many validations; sampling takes many network evaluations.
        total: Steps of the sampler.
    """

    def __init__(self, clips: int = 2, every: int = 1, total: int = 50) -> None:
        self.clips, self.every, self.total = clips, every, total
        self.validations = 0

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw once a validation, on rank 0."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, Stage) or not self.clips:
            return
        self.validations += 1
        if (self.validations - 1) % self.every or not trainer.is_global_zero:
            return
        logger = trainer.logger
        if isinstance(logger, TensorBoardLogger):
            self._draw(pl_module, batch, logger.experiment, trainer.global_step)

    @torch.no_grad()
    def _draw(self, stage: Stage, batch: Batch, board: Any, step: int) -> None:
        audio = batch["audio"][: self.clips]
        captions = batch["caption"][: self.clips]
        random = SampleRandom("listen", batch["number"][: self.clips].tolist(), stage.device)
        signal = None if stage.conditioner is None else stage.conditioner.degrade(audio)
        chosen = stage.sampling
        stage.sampling = dataclasses.replace(chosen, total=self.total)
        try:
            output = stage.generate(captions, audio.shape[-1] / stage.sample_rate, random, signal)
        finally:
            stage.sampling = chosen
        made = stage.to_audio(output)
        for i, caption in enumerate(captions):
            board.add_text(f"listen/{i}", caption or "(no text)", step)
            for kind, clip in {"generated": made[i], "real": audio[i]}.items():
                board.add_audio(f"listen/{i}/{kind}", clip.clamp(-1, 1).cpu(), step, stage.sample_rate)
                board.add_figure(f"listen/{i}/{kind}", _picture(clip.cpu(), stage.sample_rate), step)
        board.add_scalar("listen/clip_rate", (made.abs() > 1).float().mean(), step)


def _picture(audio: Tensor, sample_rate: int) -> Any:
    """Figure of the log-mel of a clip ``(1, t)``."""
    from matplotlib.figure import Figure

    settings = MelSettings(sample_rate=sample_rate, hop=sample_rate // 100, f_max=sample_rate / 2)
    figure = Figure(figsize=(8, 2.5), layout="constrained")
    axes = figure.add_subplot()
    seconds = audio.shape[-1] / sample_rate
    image = log_mel(audio[None], settings)[0].float().numpy()
    axes.imshow(image, origin="lower", aspect="auto", extent=(0, seconds, 0, len(image)), vmin=-1, vmax=1)
    axes.set(xlabel="seconds", ylabel="mel channel")
    return figure
