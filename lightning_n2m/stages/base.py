"""The diffusion trainer that all stages share."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from lightning_n2m.conditioning.known_regions import known_input
from lightning_n2m.conditioning.numbers import MusicNumbers, NumberDropout, draw_dropout, to_batch
from lightning_n2m.data.schema import Batch, stream_positions
from lightning_n2m.diffusion.coupling import complete_groups, couple
from lightning_n2m.diffusion.times import TimeSampling
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.auxiliary import FeatureLoss, FeaturePredictor, connected_zero, inputs_of
from lightning_n2m.stages.distillation import distillation_loss, sampling_errors
from lightning_n2m.stages.result import GeneratedClip
from lightning_n2m.stages.run_checks import (
    check_adapter,
    check_settings,
    check_stage,
    check_weights,
    keep_learning_rate,
    limit_steps,
)
from lightning_n2m.stages.sampling import DiffusionModule
from lightning_n2m.stages.settings import Optimisation
from lightning_n2m.stages.sharding import number_by_module, shard
from lightning_n2m.stages.teacher import Distillation, Teacher, check_student


@dataclass(frozen=True)
class BatchLosses:
    """Losses of one training batch, kept until the next optimiser step for the callbacks.

    Args:
        batch: The batch.
        times: Diffusion times, ``(b,)``.
        weighted: Losses that are minimised, ``(b,)``.
        unweighted: Mean squared errors of the prediction target, ``(b,)``. In a distillation this is the
            error of the first step of each clip, whose time is in ``times``.
    """

    batch: Batch
    times: Tensor
    weighted: Tensor
    unweighted: Tensor


class Stage(DiffusionModule):
    """One stage of the cascade with its training.

    Hyper-parameters are not saved into checkpoints: Lightning would let them override the command line.
    A checkpoint and the ``config.yaml`` of its run belong together.

    Args:
        optimisation: Optimiser and learning rate.
        text_dropout: Probability with which the text of a training sample is dropped (section 3.4).
        validation_times: Diffusion times at which validation measures the loss.
        number_dropout: Probabilities with which a training sample loses its tempo, tonic, mode or beat phase,
            alone or in pairs, for a network that takes them; with its text it loses all of them.
        seed: Seed of all random numbers of a training sample.
        compile: Compile the network for training.
        times: Distribution of the diffusion times.
        transport_group: Samples in a group within which noise is assigned to data by optimal transport
            (`lightning_n2m.diffusion.coupling`), for groups as in ``times.strata``; 1 for independent
            noise, as in the paper.
        distillation: Train the network as the few-step student of another one, its `teacher`, instead of
            on data; null for none.
        auxiliary: Losses of features that are predicted from the middle of the network. Their projections are
            trained and saved with the stage, and are no part of an exported bundle.
        kwargs: See `DiffusionModule`.
    """

    def __init__(
        self,
        optimisation: Optimisation = Optimisation(),
        text_dropout: float = 0.1,
        validation_times: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9),
        seed: int = 0,
        compile: bool = False,
        times: TimeSampling = TimeSampling(),
        transport_group: int = 1,
        distillation: Distillation | None = None,
        number_dropout: NumberDropout = NumberDropout(),
        auxiliary: Sequence[FeatureLoss] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.optimisation, self.text_dropout, self.seed = optimisation, text_dropout, seed
        self.validation_times = tuple(validation_times)
        check_range("transport_group", transport_group, 1, 4096)
        self.times, self.transport_group = times, transport_group
        if auxiliary and compile:
            raise InputError(
                "model.auxiliary reads the middle of the network, which a compiled one does not give; set "
                "model.compile to false."
            )
        if auxiliary and distillation is not None:
            raise InputError(
                "model.auxiliary is for training on data, but model.distillation is set; remove one of them."
            )
        width = int(self.network.ups[-1].in_channels)  # type: ignore[arg-type]  # of the deepest level
        self.auxiliary = nn.ModuleList(FeaturePredictor(width, settings) for settings in auxiliary)
        self.compile_network, self.number_dropout = compile, number_dropout
        self.distillation = distillation
        self.teacher: Teacher | None = None
        if distillation is not None:
            check_student(self, distillation)
        self.batch_losses: list[BatchLosses] = []
        # Settings and base of the adapter that is trained in the place of the network.
        self.adapter: dict[str, Any] | None = None

    @property
    def training_features(self) -> tuple[str, ...]:
        """Features that the loader has to deliver with each training batch."""
        return tuple(predictor.settings.features for predictor in self._predictors)

    @property
    def _predictors(self) -> list[FeaturePredictor]:
        return [module for module in self.auxiliary if isinstance(module, FeaturePredictor)]

    def setup(self, stage: str) -> None:
        """Compile the network in place: a wrapped module would rename every key of the checkpoint.

        Raises:
            InputError: if the training would continue after the learning rate has reached zero.
        """
        if stage == "fit" and self._trainer is not None:
            limit_steps(self._trainer, self.optimisation)
        if self.compile_network and stage == "fit":
            self.network.compile()

    def configure_model(self) -> None:
        """Shard the network over the ranks if the strategy has a device mesh.

        Raises:
            InputError: if the optimiser needs whole matrices, which a sharded network does not have.
        """
        if self._device_mesh is not None:
            if self.optimisation.optimizer == "muon":
                raise InputError(
                    "model.optimisation.optimizer muon needs whole matrices, but this strategy shards them; "
                    "use -c configs/trainer/ddp.yaml, or optimizer adam."
                )
            if self.auxiliary:
                raise InputError(
                    "model.auxiliary needs a whole copy of the network, but this strategy shards it; use -c "
                    " configs/trainer/ddp.yaml."
                )
            shard(self.network, self._device_mesh["data_parallel"])

    def build_conditions(
        self, batch: Batch, length: int, rng: PerSampleGenerator, training: bool
    ) -> Conditions:
        """Compute the conditions of a batch of recordings.

        Args:
            batch: Audio ``(b, 1, t)`` and captions.
            length: Steps of the output.
            rng: Source of all random numbers; the order of its draws is part of a run's reproducibility.
            training: Augment the low-fidelity signal with noise and blur (section 4.1) and drop the text of
                some samples (section 3.4). Otherwise both are as in sampling.
        """
        conditions = Conditions()
        if self.conditioner is not None:
            signal = self.conditioner.degrade(batch["audio"])
            schedule = self.objective.schedule
            if training:
                conditions = self.conditioner.augmented(signal, length, schedule, rng)
            else:
                conditions = self.conditioner.for_sampling(
                    signal, length, self.sampling.conditioning_noise, schedule, rng
                )
        text_dropped = None
        if self.text is not None:
            conditions = self.with_text(conditions, batch["caption"])
            if training:
                text_dropped = rng.uniform() < self.text_dropout
                conditions = conditions.drop_text(text_dropped)
        if self.network.number_names:
            conditions = self.with_numbers(conditions, _numbers_of(batch, self.device), length)
            if training:
                own_rng = PerSampleGenerator(f"{self.seed} numbers", batch["number"].tolist(), self.device)
                names = self.network.number_names
                drop = draw_dropout(names, self.number_dropout, own_rng, text_dropped)
                conditions = conditions.drop_numbers(drop)
        return conditions

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Weighted loss at random times; every random number follows from the sample's number."""
        rng = PerSampleGenerator(f"{self.seed} train", batch["number"].tolist(), self.device)
        # Shards may hold log-mels that were computed ahead.
        target = batch["mel"] if "mel" in batch else self.target(batch["audio"])
        x0 = self.to_x0(target)
        middle: list[Tensor] = []
        if self.distillation is None:
            with inputs_of(self.network.ups[-1]) as middle:
                weighted, plain, t = self._data_loss(batch, x0, rng)
        else:
            teacher = self.required_teacher()
            conditions = self.build_conditions(batch, x0.shape[-1], rng, training=True)
            losses, times = distillation_loss(self, teacher, self.distillation, x0, conditions, rng)
            weighted, plain, t = losses.mean(0), losses[0], times[0]
        value = weighted.mean()
        self.batch_losses.append(BatchLosses(batch, t, weighted.detach(), plain.detach()))
        self.log("train/loss", value, prog_bar=True, logger=False, batch_size=len(x0))
        return value + self._auxiliary_loss(batch, middle) if self.auxiliary else value

    def _data_loss(self, batch: Batch, x0: Tensor, rng: PerSampleGenerator) -> tuple[Tensor, Tensor, Tensor]:
        """Weighted losses, squared errors and diffusion times of noised data, each ``(b,)``."""
        streams, positions = stream_positions(batch)
        uniform = self.times.stratify(rng.uniform(), self.seed, streams, positions)
        t = self.times.times(uniform, self.objective.schedule)
        conditions = self.build_conditions(batch, x0.shape[-1], rng, training=True)
        conditions, known = self._with_known_regions(conditions, x0, rng)
        network = functools.partial(self.network, conditions=conditions)
        noise = rng.normal(*x0.shape[1:])
        if self.transport_group > 1:
            noise = couple(x0, noise, complete_groups(streams, positions, self.transport_group))
        loss = self.objective.loss(network, x0, t, noise, known)
        return loss.weighted, loss.plain, t

    def _with_known_regions(
        self, conditions: Conditions, x0: Tensor, rng: PerSampleGenerator
    ) -> tuple[Conditions, Tensor | None]:
        """Conditions with random known regions of the target and their mask, if the stage trains so."""
        if self.known_regions is None:
            return conditions, None
        mask = self.known_regions.draw(x0.shape[-1], rng)
        return dataclasses.replace(conditions, known=known_input(x0, mask)), mask

    def _auxiliary_loss(self, batch: Batch, middle: list[Tensor]) -> Tensor:
        """Weighted sum of the auxiliary losses."""
        total = connected_zero(self.auxiliary)
        for predictor in self._predictors:
            if predictor.is_used_at(self.global_step):
                settings = predictor.settings
                loss = predictor(middle[0], batch["features"][settings.features])
                self.log(f"train/auxiliary_{settings.features}", loss.detach(), batch_size=len(middle[0]))
                total = total + settings.weight * loss
        return total

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Drop the losses of the previous optimiser step."""
        if batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.batch_losses.clear()

    def gradient_norm(self) -> Tensor:
        """Norm of all gradients; over all ranks if they are sharded."""
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def configure_optimizers(self) -> Any:
        """Adam and its schedule, advanced after every step: Lightning's default is once an epoch."""
        # The network alone where there is nothing else: the order of the parameters is part of a checkpoint.
        trained = nn.ModuleList([self.network, self.auxiliary]) if self.auxiliary else self.network
        optimizer, schedule = self.optimisation.build(trained)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Unweighted loss at fixed times with fixed noise for each sample: comparable over the run."""
        self._measure(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Unweighted loss on the test split, as in `validation_step`."""
        self._measure(batch, "test")

    def _measure(self, batch: Batch, prefix: str) -> None:
        if self.distillation is not None:
            self._measure_distilled(batch, prefix, self.distillation)
            return
        losses = []
        for t in self.validation_times:
            rng = PerSampleGenerator(f"validation {t}", batch["number"].tolist(), self.device)
            x0 = self.to_x0(self.target(batch["audio"]))
            conditions = self.build_conditions(batch, x0.shape[-1], rng, training=False)
            conditions, known = self._with_known_regions(conditions, x0, rng)
            network = functools.partial(self.network, conditions=conditions)
            times = torch.full((len(x0),), t, device=self.device)
            loss = self.objective.loss(network, x0, times, rng.normal(*x0.shape[1:]), known).plain.mean()
            self.log(f"{prefix}/loss_t{t:g}", loss, batch_size=len(x0), sync_dist=True)
            losses.append(loss)
        mean = torch.stack(losses).mean()
        self.log(f"{prefix}/loss", mean, batch_size=len(x0), sync_dist=True, prog_bar=True)

    def _measure_distilled(self, batch: Batch, prefix: str, distillation: Distillation) -> None:
        """Squared distance of the student's samples to the teacher's from the same noise."""
        rng = PerSampleGenerator("validation distilled", batch["number"].tolist(), self.device)
        x0 = self.to_x0(self.target(batch["audio"]))
        conditions = self.build_conditions(batch, x0.shape[-1], rng, training=False)
        teacher = self.required_teacher()
        errors = sampling_errors(self, teacher, distillation, x0.shape[1:], conditions, rng)
        for steps, error in errors.items():
            self.log(f"{prefix}/loss_{steps}_steps", error.mean(), batch_size=len(x0), sync_dist=True)
        mean = torch.stack([error.mean() for error in errors.values()]).mean()
        self.log(f"{prefix}/loss", mean, batch_size=len(x0), sync_dist=True, prog_bar=True)

    def required_teacher(self) -> Teacher:
        """The teacher, on this stage's device.

        Raises:
            InputError: if none was given.
        """
        if self.teacher is None:
            raise InputError(
                f"{type(self).__name__} is a distilled stage and has no teacher; give the folder of a "
                "trained stage with --weights ('validate' and 'test': the folder of the run as "
                "--trainer.default_root_dir)."
            )
        return self.teacher.to(self.device)

    def predict_step(self, batch: Batch, batch_idx: int) -> list[GeneratedClip]:
        """Generate with this stage alone, from the low-fidelity signal of the recordings."""
        signal = None if self.conditioner is None else self.conditioner.degrade(batch["audio"])
        rng = PerSampleGenerator(f"{self.seed} predict", batch["number"].tolist(), self.device)
        seconds = batch["audio"].shape[-1] / self.sample_rate
        audio = self.to_audio(self.generate(batch["caption"], seconds, rng, signal))
        record = {
            "stage": type(self).__name__,
            "seed": self.seed,
            "sampling": dataclasses.asdict(self.sampling),
        }
        return [
            GeneratedClip(row, self.sample_rate, key, {"key": key, "prompt": caption, **record})
            for row, key, caption in zip(audio, batch["key"], batch["caption"], strict=True)
        ]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the stage's name and the settings that the meaning of its output depends on."""
        checkpoint["stage"] = type(self).__name__
        checkpoint["diffusion"] = self.diffusion_settings()
        checkpoint["optimizer"] = self.optimisation.optimizer
        if self.teacher is not None:
            checkpoint["teacher"] = self.teacher.identifier
        if self.adapter is not None:
            checkpoint["adapter"] = self.adapter
            if self._device_mesh is None:
                number_by_module(checkpoint.get("optimizer_states", ()), self)

    def check_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume from a checkpoint that does not belong to this config.

        Raises:
            InputError: if stage, parameter shapes, prediction, schedule or scaling differ.
        """
        check_weights(checkpoint, self, self.optimisation, self.adapter)
        check_settings(checkpoint.get("diffusion", {}), self.diffusion_settings())
        identifier = checkpoint.get("teacher")
        if self.teacher is not None and identifier != self.teacher.identifier:
            raise InputError(
                f"The checkpoint was distilled from the teacher {str(identifier)[:12]}, but this one is "
                f"{self.teacher.identifier[:12]}; give the teacher of its run."
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another stage.

        Raises:
            InputError: if the stages differ; the message names both.
        """
        is_fitting = self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING
        # FSDP2 has loaded the weights and removed them from the checkpoint by now.
        if is_fitting and "state_dict" in checkpoint:
            self.check_checkpoint(checkpoint)
        check_stage(checkpoint, self)
        check_adapter(checkpoint, self.adapter)
        keep_learning_rate(checkpoint, self.optimisation)


def _numbers_of(batch: Batch, device: torch.device) -> Mapping[str, Tensor]:
    """Tempo, key and beats of a batch; absent where the loader does not give them."""
    return batch.get("numbers") or to_batch([MusicNumbers()] * len(batch["number"]), device)
