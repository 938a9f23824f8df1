"""Each stage overfits one batch: its loss falls well below that of a predictor without knowledge of it."""

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
from lightning_n2m.stages.bundle import read_config
from lightning_n2m.stages.stage_config import build_stage
from tests.integration.conftest import STAGES

STEPS = 150


def one_batch(stage: Stage, shards: Path) -> Batch:
    text = TextBatch(60, stage.text.count_tokens) if stage.text else None
    decoder = ClipDecoder(stage.sample_rate, stage.seconds, text, centred=True)
    return next(iter(DataLoader(FixedClips(find_shards([shards], "train"), decoder, 2), batch_size=2)))


def loss_of_a_gain(stage: Stage, batch: Batch) -> float:
    """Smallest loss without any knowledge of the music: v is predicted as a gain times x_t, sample by sample.

    For data of variance s^2 the best gain leaves the error s^2 / (alpha^2 s^2 + sigma^2), here averaged over
    uniform times.
    """
    variance = stage.to_x0(stage.target(batch["audio"])).var()
    level = stage.objective.schedule.at(torch.linspace(0, 1, 1000))
    return float((variance / (level.alpha**2 * variance + level.sigma**2)).mean())


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_overfits_one_batch(
    name: str, runs: Path, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    stage = build_stage(read_config(runs / name))
    stage.text_dropout = 0.0
    batch = one_batch(stage, shards)
    optimizer = torch.optim.Adam(stage.network.parameters(), lr=3e-3)
    losses = []
    monkeypatch.setattr(stage, "log", lambda *args, **kwargs: None)
    stage.trainer = Trainer(logger=False, accelerator="cpu", enable_checkpointing=False)
    stage.trainer.strategy.optimizers = [optimizer]
    for step in range(STEPS):
        # Audio and text stay the same; times and noise differ at each step.
        numbers = torch.arange(2 * 8) + 16 * step
        repeated: Batch = {
            "audio": batch["audio"].repeat(8, 1, 1),
            "caption": batch["caption"] * 8,
            "key": batch["key"] * 8,
            "number": numbers,
        }
        loss = stage.training_step(repeated, step)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(stage.network.parameters(), 1.0)
        optimizer.step()
        losses.append(stage.batch_losses[-1].unweighted.mean().item())
    assert len(losses) == STEPS
    final = sum(losses[-20:]) / 20
    assert final < 0.8 * loss_of_a_gain(stage, batch)
