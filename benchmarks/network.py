"""One network in its own process, which runs a training step on request.

``python -m benchmarks.network SETTINGS`` runs in this project's environment or in that of the peers. For
every line on standard input it runs a step and prints its times as a line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.music import ROOT

# By default the allocator returns the memory of a step to the system and gets zeroed pages again, which takes
# a tenth of the step. For all networks of this benchmark it keeps its memory, in large pages.
KEEP = {
    "THP_MEM_ALLOC_ENABLE": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "500000000",
}
TOKENS = 64  # of the text of this project's networks with cross-attention


@dataclass(frozen=True)
class Settings:
    """A network and its training step.

    Args:
        kind: Library of the network, one of `BUILDERS`.
        network: Arguments of its constructor.
        length: Samples of a clip.
        batch: Clips of a step.
        bf16: Autocast to bfloat16.
    """

    kind: str
    network: dict[str, Any] = field(default_factory=dict)
    length: int = 16_384
    batch: int = 8
    bf16: bool = True


def ours(**settings: Any) -> nn.Module:
    from lightning_n2m.networks.conditions import Conditions
    from lightning_n2m.networks.unet import UNet1d

    class Prompted(UNet1d):
        def forward(self, x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
            if self.text_channels is None:
                return super().forward(x, t)
            mask = torch.ones(len(x), TOKENS, dtype=torch.bool, device=x.device)
            text = torch.ones(len(x), TOKENS, self.text_channels, device=x.device)
            return super().forward(x, t, Conditions(text=text, text_mask=mask))

    return Prompted(**settings)


def unet_v0(**settings: Any) -> nn.Module:
    from audio_diffusion_pytorch import UNetV0

    return UNetV0(dim=1, **settings)


def diffusers(**settings: Any) -> nn.Module:
    from diffusers.models.unets.unet_1d import UNet1DModel

    class Unwrapped(UNet1DModel):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return super().forward(x, t, return_dict=False)[0]

    return Unwrapped(**settings)


def stable_audio(**settings: Any) -> nn.Module:
    from stable_audio_tools.models.adp import UNet1d

    return UNet1d(**settings)


BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "ours": ours,
    "audio-diffusion-pytorch": unet_v0,
    "diffusers": diffusers,
    "stable-audio-tools": stable_audio,
}


def count(settings: Settings) -> dict[str, int]:
    """Parameters, and floating-point operations of forward and backward pass of one clip."""
    with torch.device("meta"):
        network = BUILDERS[settings.kind](**settings.network)
        x, t = torch.empty(1, _channels(network, settings), settings.length), torch.empty(1)
    with FlopCounterMode(display=False) as counter:
        network(x, t).sum().backward()
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "flops": counter.get_total_flops(),
    }


def _channels(network: nn.Module, settings: Settings) -> int:
    entry = getattr(network, "entry", None)
    return 1 if entry is None else entry.in_channels


class Trained:
    """A network with its optimiser and a batch of noise."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(0)
        self.settings = settings
        self.network = BUILDERS[settings.kind](**settings.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 1e-4, fused=True)
        channels = _channels(self.network, settings)
        self.x = torch.randn(settings.batch, channels, settings.length)
        self.target = torch.randn(settings.batch, 1, settings.length)
        self.t = torch.rand(settings.batch)

    def passes(self) -> None:
        """Forward pass, loss, and backward pass."""
        with torch.autocast("cpu", torch.bfloat16) if self.settings.bf16 else nullcontext():
            output = self.network(self.x, self.t)
            loss = nn.functional.mse_loss(output.float(), self.target)
        loss.backward()

    def step(self) -> dict[str, float]:
        """A training step: seconds of its two passes, and of all of it."""
        began = time.perf_counter()
        self.optimizer.zero_grad()
        self.passes()
        passed = time.perf_counter()
        self.optimizer.step()
        return {"passes": passed - began, "step": time.perf_counter() - began}


def matmul(bf16: bool, size: int = 4096) -> Callable[[], dict[str, float]]:
    """A product of square matrices: floating-point operations per second."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b, out = (torch.ones(size, size, dtype=dtype) for _ in range(3))

    def work() -> dict[str, float]:
        began = time.perf_counter()
        torch.mm(a, b, out=out)
        return {"flops": 2 * size**3 / (time.perf_counter() - began)}

    return work


class Process:
    """A network, or the product of matrices, in another process."""

    def __init__(self, python: str | Path, settings: Settings) -> None:
        command = [str(python), "-m", "benchmarks.network", json.dumps(asdict(settings))]
        self._job = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | KEEP
        )
        self.counted: dict[str, int] = self._answer()

    def __call__(self) -> dict[str, float]:
        assert self._job.stdin is not None
        self._job.stdin.write("\n")
        self._job.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._job.stdout is not None
        line = self._job.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(map(str, self._job.args))} ended with {self._job.wait()}")
        return json.loads(line)

    def close(self) -> None:
        """End the process and wait for it."""
        self._job.communicate()


def main(settings: Settings) -> None:
    answers = sys.stdout
    sys.stdout = sys.stderr  # some peers print to standard output
    if settings.kind == "matmul":
        answer, work = {}, matmul(settings.bf16)
    else:
        answer, work = count(settings), Trained(settings).step
    print(json.dumps(answer), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(work()), file=answers, flush=True)


if __name__ == "__main__":
    main(Settings(**json.loads(sys.argv[1])))
