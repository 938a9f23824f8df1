"""Validation and checkpoints use the averaged weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lightning_n2m.callbacks.ema import Ema

DECAY, WARMUP = 0.9, 10


class Line(LightningModule):
    """One parameter that every step changes."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(3))
        self.register_buffer("count", torch.tensor(4))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        return ((self.weight - batch[0]) ** 2).sum()

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


class Recorder(Callback):
    """Computes the average independently and records the weights that are active in validation."""

    def __init__(self) -> None:
        self.average: Tensor | None = None
        self.steps = 0
        self.active: list[tuple[Tensor, Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        weight = pl_module.weight.detach().clone()
        if self.average is None:
            self.average = weight
        else:
            decay = min(DECAY, (1 + self.steps) / (WARMUP + self.steps))
            self.average = decay * self.average + (1 - decay) * weight
        self.steps += 1

    def on_validation_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
        assert self.average is not None
        self.active.append((pl_module.weight.detach().clone(), self.average.clone()))


def test_the_average_is_active_in_validation_and_in_the_checkpoint(tmp_path: Path) -> None:
    recorder, module = Recorder(), Line()
    batches = DataLoader(TensorDataset(torch.randn(24, 3)), batch_size=1)
    trainer = Trainer(
        max_steps=24,
        val_check_interval=8,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[recorder, Ema(DECAY, WARMUP)],
        default_root_dir=tmp_path,
    )
    trainer.fit(module, batches, DataLoader(TensorDataset(torch.zeros(1, 3))))
    assert len(recorder.active) == 3
    for active, average in recorder.active:
        torch.testing.assert_close(active, average)
    torch.testing.assert_close(module.weight, recorder.average)
    assert module.count == 4
    (path,) = tmp_path.rglob("*.ckpt")
    saved = torch.load(path, weights_only=True)
    torch.testing.assert_close(saved["state_dict"]["weight"], recorder.average)
    assert not torch.equal(saved["current_model_state"]["weight"], saved["state_dict"]["weight"])
