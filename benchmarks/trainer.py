"""Overhead of `fit` per training step: Lightning, EMA, metrics, guards, checkpoints, TensorBoard."""

from __future__ import annotations

import functools
import itertools
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.data import DataLoader, IterableDataset

from benchmarks.result import Result
from lightning_n2m.callbacks.checkpoint import Best, Checkpoint
from lightning_n2m.callbacks.divergence_guard import DivergenceGuard
from lightning_n2m.callbacks.ema import Ema
from lightning_n2m.callbacks.train_metrics import TrainMetrics
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.stage_config import build_stage

RECIPE = Path(__file__).parents[1] / "configs" / "starter" / "super_resolution.yaml"
CLIPS, STEPS, WARMUP, ROUNDS = 8, 9, 2, 3


class Clips(IterableDataset):
    """Noise instead of music, so that the loader is not part of the comparison."""

    def __init__(self, stage: Stage) -> None:
        self.audio = torch.randn(1, round(stage.seconds * stage.sample_rate)) / 10

    def __iter__(self) -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            yield {"audio": self.audio, "caption": "", "key": "key", "number": number}
            number += 1


def stage() -> Stage:
    torch.manual_seed(0)
    return build_stage(yaml.safe_load(RECIPE.read_text())["model"])


class Clock(Callback):
    """Records the end of each step in processor time, which excludes other processes."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: Any) -> None:
        self.ends.append(time.process_time())


def with_trainer() -> list[float]:
    """Processor seconds of each training step of ``fit`` with its callbacks."""
    clock, module = Clock(), stage()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            accelerator="cpu",
            max_steps=STEPS,
            max_epochs=-1,
            gradient_clip_val=1.0,
            log_every_n_steps=5,
            logger=TensorBoardLogger(folder, name="", version=""),
            callbacks=[
                Ema(),
                TrainMetrics(),
                DivergenceGuard(),
                clock,
                Best(),
                Checkpoint(every_n_train_steps=1000),
            ],
            limit_val_batches=0,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(module, DataLoader(Clips(module), CLIPS))
    return [after - before for before, after in itertools.pairwise(clock.ends)]


def bare() -> list[float]:
    """Processor seconds of each step of a loop with the same network, data, loss, clipping and optimiser."""
    module = stage()
    optimizer, schedule = module.optimisation.build(module.network)
    ends = []
    for _, batch in zip(range(STEPS), DataLoader(Clips(module), CLIPS), strict=False):
        rng = PerSampleGenerator("0 train", batch["number"].tolist())
        x0 = module.target(batch["audio"]) * module.scale
        t = rng.uniform()
        conditions = module.build_conditions(batch, x0.shape[-1], rng, training=True)
        network = functools.partial(module.network, conditions=conditions)
        loss = module.objective.loss(network, x0, t, rng.normal(*x0.shape[1:])).weighted.mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(module.network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        ends.append(time.process_time())
    return [after - before for before, after in itertools.pairwise(ends)]


def measure() -> Iterable[Result]:
    """Steps per processor second of both, in turns; medians, because of outliers."""
    torch.set_num_threads(1)
    trainer_steps: list[float] = []
    bare_steps: list[float] = []
    for _ in range(ROUNDS):
        trainer_steps += with_trainer()[WARMUP:]
        bare_steps += bare()[WARMUP:]
    yield Result(
        "training steps a processor second (super-resolution starter, 8 clips, 1 thread)",
        1 / statistics.median(trainer_steps),
        1 / statistics.median(bare_steps),
        f"a bare loop in PyTorch {version('torch').partition('+')[0]}",
        "steps/s",
        target=0.95,
    )
