"""The diffusion trainer that all stages share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.data.schema import Batch
from lightning_n2m.diffusion.random import SampleRandom
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.stages.generated import Generated
from lightning_n2m.stages.generation import GenerativeModule
from lightning_n2m.stages.settings import Optimisation

TIME_BUCKETS = 4


class Stage(GenerativeModule):
    """One stage of the cascade, with its training.

    Hyper-parameters are deliberately not saved into checkpoints: Lightning would let them overrule
    the command line. A stage is its checkpoint together with the config beside it.

    Args:
        optimisation: Optimiser and learning rate.
        text_dropout: Share of samples whose text is hidden in training (section 3.4).
        validation_times: Diffusion times at which validation measures the loss.
        seed: Seed of all that is drawn for a sample in training.
        compile: Compile the network for training.
        kwargs: See `GenerativeModule`.
    """

    def __init__(
        self,
        optimisation: Optimisation = Optimisation(),
        text_dropout: float = 0.1,
        validation_times: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        seed: int = 0,
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.optimisation, self.text_dropout, self.seed = optimisation, text_dropout, seed
        self.validation_times = tuple(validation_times)
        self.compile_network = compile
        self._bucket_sums: Tensor | None = None

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
