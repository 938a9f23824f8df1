"""Each stage overfits one batch: its loss falls below that of the best linear denoiser of this batch."""

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


def loss_of_the_gaussian(stage: Stage, batch: Batch) -> float:
    """Loss of the optimal denoiser of a Gaussian with the mean and the covariance of the batch itself.

    The Gaussian is one of 80 values: a frame of a log-mel, or 80 samples of audio. On an axis of variance
    s^2 the best prediction of v has the error s^2 / (alpha^2 s^2 + sigma^2), here averaged over axes and
    uniform times. No linear denoiser of 80 values has a lower loss, however long it is fitted to these
    clips: a network below it has learned more of them than their mean, spectrum and level.
    """
    x0 = stage.to_x0(stage.target(batch["audio"]))
    values = (
        x0.unfold(-1, 80, 1)[:, 0].flatten(0, 1) if x0.shape[1] == 1 else x0.transpose(1, 2).flatten(0, 1)
    )
    variances = torch.linalg.eigvalsh(values.double().T.cov()).clamp(min=0)
    level = stage.objective.schedule.at(torch.linspace(0, 1, 1001)[1:].double()[:, None])
    return float((variances / (level.alpha**2 * variances + level.sigma**2)).mean())


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
    assert final < loss_of_the_gaussian(stage, batch)
