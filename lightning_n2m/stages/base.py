"""The diffusion trainer that all stages share."""

from __future__ import annotations

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_n2m.audio.windows import overlapped
from lightning_n2m.conditioning.conditioner import Conditioner
from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.data.schema import Batch
from lightning_n2m.diffusion.guidance import finish, guide
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.random import SampleRandom
from lightning_n2m.diffusion.sampler import Progress, sample
from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.stages.generated import Generated
from lightning_n2m.stages.settings import Optimisation, Sampling

TIME_BUCKETS = 4


class Stage(LightningModule):
    """One stage: a network, an objective, and what the network is told.

    Hyper-parameters are deliberately not saved into checkpoints: Lightning would let them overrule
    the command line. A stage is its checkpoint together with the config beside it.

    Args:
        network: The U-Net.
        objective: Schedule, prediction and loss weight.
        sample_rate: Rate in Hz of the audio that the stage is fed in training.
        seconds: Length of a training example.
        text: Frozen encoder of the prompt; null for a stage that hears no text.
        conditioner: The low-fidelity signal that the stage refines; null for a generator.
        optimisation: Optimiser and learning rate.
        sampling: How the trained stage is run.
        text_dropout: Share of samples whose text is hidden in training (section 3.4).
        scale: The target is multiplied by this, to bring it near unit variance; 1 in the paper.
        validation_times: Diffusion times at which validation measures the loss.
        seed: Seed of all that is drawn for a sample in training.
        compile: Compile the network for training.
    """

    def __init__(
        self,
        network: UNet1d,
        objective: Objective,
        sample_rate: int,
        seconds: float,
        text: TextEncoder | None = None,
        conditioner: Conditioner | None = None,
        optimisation: Optimisation = Optimisation(),
        sampling: Sampling = Sampling(),
        text_dropout: float = 0.1,
        scale: float = 1.0,
        validation_times: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        seed: int = 0,
        compile: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self.sample_rate, self.seconds = sample_rate, seconds
        self.text, self.conditioner = text, conditioner
        self.optimisation, self.sampling = optimisation, sampling
        self.text_dropout, self.scale, self.seed = text_dropout, scale, seed
        self.validation_times = tuple(validation_times)
        self.compile_network = compile
        self._bucket_sums: Tensor | None = None

    # What a stage says of itself ------------------------------------------------------------------

    @property
    def hears_text(self) -> bool:
        """Whether prompts reach the network."""
        return self.text is not None

    @property
    @abstractmethod
    def output_rate(self) -> float:
        """Steps of the output per second: the sampling rate, or the frames of a spectrogram."""

    @abstractmethod
    def target(self, audio: Tensor) -> Tensor:
        """What the stage learns to make from audio ``(b, 1, t)``, before scaling: ``(b, c, t)``."""

    @abstractmethod
    def to_audio(self, output: Tensor) -> Tensor:
        """A listening version ``(b, 1, t)`` at ``sample_rate`` of an output ``(b, c, t)``."""

    # Training -------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Compile in place: a wrapped module would rename every key of the checkpoint."""
        if self.compile_network and stage == "fit":
            self.network.compile()

    def told(self, batch: Batch, length: int, random: SampleRandom, training: bool) -> Conditions:
        """Conditions of a batch of real audio, for an output of ``length`` steps."""
        conditions = Conditions()
        if self.conditioner is not None:
            signal = self.conditioner.degrade(batch["audio"])
            schedule = self.objective.schedule
            if training:
                conditions = self.conditioner.augmented(signal, length, schedule, random)
            else:
                conditions = self.conditioner.at_level(signal, length, self.sampling.level, schedule, random)
        if self.text is not None:
            conditions = self.with_text(conditions, batch["caption"])
            if training:
                conditions = conditions.drop_text(random.uniform() < self.text_dropout)
        return conditions

    def with_text(self, conditions: Conditions, captions: Sequence[str]) -> Conditions:
        """Add prompts; an empty one is the null text."""
        assert self.text is not None
        encoded = self.text.encode(captions, self.device)
        empty = torch.tensor([not caption.strip() for caption in captions], device=self.device)
        return conditions.with_text(encoded.states, encoded.mask).drop_text(empty)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Weighted loss at random times; every draw belongs to the sample's number."""
        random = SampleRandom(f"{self.seed} train", batch["number"].tolist(), self.device)
        x0 = self.target(batch["audio"]) * self.scale
        t = random.uniform()
        conditions = self.told(batch, x0.shape[-1], random, training=True)
        network = functools.partial(self.network, conditions=conditions)
        loss = self.objective.loss(network, x0, t, random.normal(*x0.shape[1:]))
        value = loss.weighted.mean()
        self.log("train/loss", value, prog_bar=True, batch_size=len(x0))
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        self._log_by_time(loss.plain.detach(), t)
        return value

    def _log_by_time(self, plain: Tensor, t: Tensor) -> None:
        """Mean unweighted loss by quarter of the time axis, since the last log."""
        buckets = (t * TIME_BUCKETS).long().clamp(max=TIME_BUCKETS - 1)
        sums = torch.zeros(2, TIME_BUCKETS, device=plain.device)
        sums.index_add_(1, buckets, torch.stack([plain, torch.ones_like(plain)]))
        self._bucket_sums = sums if self._bucket_sums is None else self._bucket_sums + sums
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            for i, (total, count) in enumerate(self._bucket_sums.T.tolist()):
                if count:
                    self.log(f"train/loss_t{i}", total / count, batch_size=int(count))
            self._bucket_sums = None

    def configure_optimizers(self) -> Any:
        """Adam and its schedule, stepped by step: Lightning's default would step once an epoch."""
        optimizer, schedule = self.optimisation.build(self.network)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # Validation and prediction --------------------------------------------------------------------

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Unweighted loss at fixed times, with noise fixed to the sample: comparable over the run."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """The same on the test split."""
        self._measure(batch, "test")

    def _measure(self, batch: Batch, prefix: str) -> None:
        losses = []
        for t in self.validation_times:
            random = SampleRandom(f"validation {t}", batch["number"].tolist(), self.device)
            x0 = self.target(batch["audio"]) * self.scale
            conditions = self.told(batch, x0.shape[-1], random, training=False)
            network = functools.partial(self.network, conditions=conditions)
            times = torch.full((len(x0),), t, device=self.device)
            loss = self.objective.loss(network, x0, times, random.normal(*x0.shape[1:])).plain.mean()
            self.log(f"{prefix}/loss_t{t:g}", loss, batch_size=len(x0), sync_dist=True)
            losses.append(loss)
        mean = torch.stack(losses).mean()
        self.log(f"{prefix}/loss", mean, batch_size=len(x0), sync_dist=True, prog_bar=True)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Generated]:
        """This stage alone, on real low-fidelity input."""
        signal = None if self.conditioner is None else self.conditioner.degrade(batch["audio"])
        random = SampleRandom(f"{self.seed} predict", batch["number"].tolist(), self.device)
        seconds = batch["audio"].shape[-1] / self.sample_rate
        audio = self.to_audio(self.generate(batch["caption"], seconds, random, signal))
        record = {
            "stage": type(self).__name__,
            "seed": self.seed,
            "sampling": dataclasses.asdict(self.sampling),
        }
        return [
            Generated(row, self.sample_rate, key, {"key": key, "prompt": caption, **record})
            for row, key, caption in zip(audio, batch["key"], batch["caption"], strict=True)
        ]

    @torch.no_grad()
    def generate(
        self,
        captions: Sequence[str],
        seconds: float,
        random: SampleRandom,
        signal: Tensor | None = None,
        negative: str = "",
        progress: Progress | None = None,
    ) -> Tensor:
        """Sample outputs for prompts.

        Args:
            captions: One prompt a sample; an empty one is the null text.
            seconds: Length of the output.
            random: Source of all noise.
            signal: What the stage before delivered, ``(b, c, t)`` at its own rate.
            negative: A prompt to lead away from, in place of the null text.
            progress: Called after each step with steps done and steps in all.

        Returns:
            ``(b, c, seconds * output_rate)``, unscaled.

        Raises:
            InputError: if the stage refines a signal and none was given.
        """
        length = round(seconds * self.output_rate)
        conditions = Conditions()
        if self.conditioner is not None:
            if signal is None:
                raise InputError(
                    f"{type(self).__name__} refines a signal; give it the output of the stage before."
                )
            level, schedule = self.sampling.level, self.objective.schedule
            conditions = self.conditioner.at_level(signal, length, level, schedule, random)
        unconditional = conditions
        if self.text is not None:
            conditions = self.with_text(conditions, captions)
            unconditional = (
                self.with_text(conditions, [negative] * len(captions)) if negative else conditions.drop_text()
            )
        noise = random.normal(self.network.channels, length)
        denoise = functools.partial(self._denoise, conditions=conditions, unconditional=unconditional)
        steps = self.sampling
        x0 = sample(
            denoise,
            noise,
            self.objective.schedule,
            step_times(steps.steps, steps.total, steps.reverse),
            random,
            steps.method,
            steps.gamma,
            progress,
        )
        return x0 / self.scale

    def _denoise(
        self, x_t: Tensor, time: float, conditions: Conditions, unconditional: Conditions
    ) -> Denoised:
        """Guided and clipped estimate, in windows where the stage was trained on crops."""
        length = x_t.shape[-1]
        t = torch.full((len(x_t),), time, device=x_t.device)
        guided = self.hears_text and self.sampling.guidance.acts_at(time)
        guidance = self.sampling.guidance

        def estimate(start: int, stop: int) -> Tensor:
            x = x_t[..., start:stop]
            told = conditions.slice(start, stop, self.network.total_stride)
            if not guided:
                return self.objective.denoise(functools.partial(self.network, conditions=told), x, t).x0
            both = told.cat(unconditional.slice(start, stop, self.network.total_stride))
            network = functools.partial(self.network, conditions=both)
            x0 = self.objective.denoise(network, torch.cat([x, x]), torch.cat([t, t])).x0
            conditional, other = x0.chunk(2)
            return guide(conditional, other, guidance.scale, guidance.rescale)

        window = length if self.conditioner is None else round(self.seconds * self.output_rate)
        overlap = round(window * self.sampling.overlap)
        x0 = overlapped(estimate, length, window, overlap, self.network.total_stride)
        return finish(x0, x_t, self.objective.schedule.at(t), guidance)

    # Checkpoints ----------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the stage's name in the checkpoint."""
        checkpoint["stage"] = type(self).__name__

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another stage.

        Raises:
            InputError: naming both stages.
        """
        found = checkpoint.get("stage", "no stage of this project")
        if found != type(self).__name__:
            raise InputError(
                f"This checkpoint is of {found}, but the config builds {type(self).__name__}; give the "
                "checkpoint and the config of one run."
            )
