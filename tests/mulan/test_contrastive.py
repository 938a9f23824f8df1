"""The contrastive loss: against a sum written out, and over two processes against one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from lightning_n2m.mulan.contrastive import contrastive_loss
from tests.paths import ROOT


def pairs(n: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    audio, text = (normalize(torch.randn(n, 5, generator=generator), dim=-1) for _ in range(2))
    return audio, text, torch.arange(2 * n).view(n, 2)


def written_out(audio, text, scale, identity) -> float:
    total = 0.0
    for one, other in ((audio, text), (text, audio)):
        for i in range(len(one)):
            allowed = [
                j for j in range(len(other)) if j == i or not any((identity[i] == identity[j]).tolist())
            ]
            scores = torch.stack([scale * one[i] @ other[j] for j in allowed]).double()
            total -= float(scores[allowed.index(i)] - scores.logsumexp(0)) / len(one)
    return total / 2


def test_it_is_the_cross_entropy_of_both_directions() -> None:
    audio, text, identity = pairs()
    loss = contrastive_loss(audio, text, torch.tensor(7.0), identity)
    assert float(loss) == pytest.approx(written_out(audio, text, 7.0, identity), rel=1e-5)


def test_clips_of_one_track_and_equal_captions_are_no_negatives() -> None:
    audio, text, identity = pairs()
    identity[1, 0], identity[4, 1] = identity[0, 0], identity[2, 1]
    loss = contrastive_loss(audio, text, torch.tensor(7.0), identity)
    assert float(loss) == pytest.approx(written_out(audio, text, 7.0, identity), rel=1e-5)
    assert float(loss) < float(contrastive_loss(audio, text, torch.tensor(7.0), pairs()[2]))


_RANK = """
import sys, torch, torch.distributed as distributed
sys.path.insert(0, sys.argv[4])
from tests.mulan.test_contrastive import pairs
from lightning_n2m.mulan.contrastive import contrastive_loss, gather
rank, ranks, store = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
if ranks > 1:
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=ranks)
audio, text, identity = (part.tensor_split(ranks)[rank] for part in pairs())
weight = torch.nn.Linear(5, 5)
with torch.no_grad():
    weight.weight.copy_(torch.eye(5)); weight.bias.zero_()
if ranks > 1:
    weight = torch.nn.parallel.DistributedDataParallel(weight)
loss = contrastive_loss(gather(weight(audio)), gather(text), torch.tensor(7.0), gather(identity))
loss.backward()
print(float(loss), *next(weight.parameters()).grad.flatten().tolist())
"""


@pytest.mark.slow
def test_two_processes_have_the_loss_and_the_gradients_of_one(tmp_path: Path) -> None:
    root = str(ROOT)

    def start(rank: int, ranks: int) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", _RANK, str(rank), str(ranks), str(tmp_path / "store"), root]
        return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)

    two = [start(0, 2), start(1, 2)]
    one = start(0, 1)
    (first, second), (alone,) = (
        [[float(number) for number in process.communicate(timeout=120)[0].split()] for process in group]
        for group in (two, [one])
    )
    assert first == pytest.approx(second, rel=1e-5, abs=1e-7)
    assert first == pytest.approx(alone, rel=1e-4, abs=1e-6)
