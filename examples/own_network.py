"""The schedule, objective and sampler of this project with a network of your own.

python examples/own_network.py [--steps 600]

A small convolutional network learns to generate short sine waves of random phase. Only
`lightning_n2m.diffusion` and PyTorch are used.
"""

from __future__ import annotations

import argparse
import math

import torch
from torch import Tensor, nn

from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.sampler import sample
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.seeding import PerSampleGenerator

LENGTH, PERIOD = 64, 16


class Network(nn.Module):
    """Dense layers on the noisy signal and the diffusion time."""

    def __init__(self, hidden: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(LENGTH + 2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, LENGTH),
        )

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Predict v for x ``(b, 1, t)`` at times ``(b,)``."""
        angle = t[:, None] * math.pi / 2
        features = torch.cat([x[:, 0], angle.sin(), angle.cos()], dim=1)
        prediction: Tensor = self.layers(features)[:, None]
        return prediction


def sine_waves(count: int, rng: torch.Generator) -> Tensor:
    """Sine waves of one period length and random phase, ``(count, 1, LENGTH)``."""
    phase = 2 * math.pi * torch.rand(count, 1, 1, generator=rng)
    return torch.sin(2 * math.pi * torch.arange(LENGTH) / PERIOD + phase)


def train(network: Network, objective: Objective, steps: int, rng: torch.Generator) -> float:
    """Train and return the last loss."""
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    for _ in range(steps):
        x0 = sine_waves(128, rng)
        t = torch.rand(len(x0), generator=rng)
        loss = objective.loss(network, x0, t, torch.randn(x0.shape, generator=rng)).weighted.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@torch.no_grad()
def generate(network: Network, objective: Objective, count: int, num_steps: int = 30) -> Tensor:
    """Sample signals ``(count, 1, LENGTH)``."""

    def denoise(x: Tensor, t: float) -> Denoised:
        return objective.denoise(network, x, torch.full((len(x),), t))

    # Every sample has its own random numbers, so a result does not depend on the rest of the batch.
    rng = PerSampleGenerator("own network", range(count), torch.device("cpu"))
    times = step_times("uniform", num_steps)
    return sample(denoise, rng.normal(1, LENGTH), objective.schedule, times, rng, method="dpm++2m")


def main(arguments: list[str] | None = None) -> float:
    """Train, sample, and return the share of the samples' energy at the right frequency."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args(arguments)

    rng = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    network = Network()
    objective = Objective(CosineSchedule(), prediction="v", weight="velocity")
    print(f"loss after {options.steps} steps: {train(network, objective, options.steps, rng):.4f}")
    energy = torch.fft.rfft(generate(network, objective, count=64)[:, 0]).abs().square()
    share = (energy[:, LENGTH // PERIOD].sum() / energy.sum()).item()
    print(f"share of the energy at the right frequency: {share:.3f}")
    return share


if __name__ == "__main__":
    main()
