"""Each stage can learn: on one batch its loss falls far below that of predicting the mean."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.schema import Batch
from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.data.training_stream import FixedClips
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import build_stage, read_config
from tests.integration.conftest import STAGES

STEPS = 150


def one_batch(stage: Stage, shards: Path) -> Batch:
    text = TextBatch(60, stage.text.count_tokens) if stage.text else None
    decoder = ClipDecoder(stage.sample_rate, stage.seconds, text, centred=True)
    return next(iter(DataLoader(FixedClips(find_shards([shards], "train"), decoder, 2), batch_size=2)))


def loss_of_the_mean(stage: Stage, batch: Batch) -> float:
    """Expected squared error of the best constant, over uniform times: var(v) = alpha^2 + sigma^2 var(x)."""
    x0 = stage.target(batch["audio"]) * stage.scale
    level = stage.objective.schedule.at(torch.linspace(0, 1, 1000))
    return float((level.alpha**2 + level.sigma**2 * x0.var()).mean())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_overfits_one_batch(name: str, runs: Path, shards: Path) -> None:
    torch.manual_seed(0)
    stage = build_stage(read_config(runs / name))
    stage.text_dropout = 0.0
    batch = one_batch(stage, shards)
    optimizer = torch.optim.Adam(stage.network.parameters(), lr=3e-3)
    losses = []
    stage.log = lambda *args, **kwargs: None  # type: ignore[method-assign]
    stage._log_by_time = lambda plain, t: losses.append(plain.mean().item())  # type: ignore[method-assign]
    stage.trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    stage.trainer.strategy.optimizers = [optimizer]
    for step in range(STEPS):
        # Audio and text stay; times and noise are drawn anew at each step.
        numbers = torch.arange(2 * 8) + 16 * step
        many: Batch = {
            "audio": batch["audio"].repeat(8, 1, 1),
            "caption": batch["caption"] * 8,
            "key": batch["key"] * 8,
            "number": numbers,
        }
        loss = stage.training_step(many, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.network.parameters(), 1.0)
        optimizer.step()
    final = sum(losses[-20:]) / 20
    assert final < 0.5 * loss_of_the_mean(stage, batch)
