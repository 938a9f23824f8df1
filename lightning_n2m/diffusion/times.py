"""Diffusion times of training samples: their distribution, and their stratification inside groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from lightning_n2m.diffusion.schedule import Schedule
from lightning_n2m.errors import check_range
from lightning_n2m.seeding import derive_seed

Distribution = Literal["uniform", "logit_normal", "log_snr_normal"]


@dataclass(frozen=True)
class TimeSampling:
    """Distribution of the diffusion times in training; the default is that of section 3.1.

    Every distribution is the quantile function of one uniform number for each sample, so that a time follows
    from the sample's own number.

    Args:
        distribution: ``uniform``; ``logit_normal``: ln(t / (1 - t)) is normal (Esser et al. 2024);
            ``log_snr_normal``: the log-SNR is normal (Karras et al. 2022), within the range of the schedule.
            Deviation: the paper has uniform times.
        mean: Mean of the normal distribution.
        std: Its standard deviation.
        strata: Samples in a group whose times are stratified: each takes its time from another one of as many
            equal parts of the distribution, which lowers the variance of the gradient (Kingma et al. 2021).
            A group is this many consecutive samples of one stream of the loader (``data.streams``): with one
            process and one worker, consecutive sample numbers. 1 for independent times.
    """

    distribution: Distribution = "uniform"
    mean: float = 0.0
    std: float = 1.0
    strata: int = 1

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("times.mean", self.mean, -100, 100)
        check_range("times.std", self.std, 1e-3, 100)
        check_range("times.strata", self.strata, 1, 1 << 16)

    def stratify(
        self, uniform: Tensor, seed: object, streams: Sequence[int], positions: Sequence[int]
    ) -> Tensor:
        """Move uniform numbers ``(b,)`` in [0, 1) into the strata of their samples.

        The strata of a group are a permutation that follows from the seed and the place of the group,
        whatever the batch holds.

        Args:
            uniform: One number for each sample.
            seed: Seed of the run.
            streams: Stream of each sample.
            positions: Position of each sample in its stream.
        """
        if self.strata == 1:
            return uniform
        permutations: dict[tuple[int, int], Tensor] = {}
        chosen = []
        for stream, position in zip(streams, positions, strict=True):
            group = (stream, position // self.strata)
            if group not in permutations:
                generator = torch.Generator().manual_seed(derive_seed(f"{seed} strata", *group))
                permutations[group] = torch.randperm(self.strata, generator=generator)
            chosen.append(int(permutations[group][position % self.strata]))
        return (torch.tensor(chosen, device=uniform.device) + uniform) / self.strata

    def times(self, uniform: Tensor, schedule: Schedule) -> Tensor:
        """Times ``(b,)`` in [0, 1]: the quantiles of the distribution at ``uniform`` ``(b,)``."""
        if self.distribution == "uniform":
            return uniform
        u = uniform.double()
        if self.distribution == "logit_normal":
            return torch.sigmoid(self.mean + self.std * torch.special.ndtri(u)).float()
        # The log-SNR falls with time. The part of the distribution outside the schedule is cut off.
        ends = torch.tensor([0.0, 1.0], dtype=torch.float64, device=u.device)
        highest, lowest = ((schedule.exact_log_snr(ends) - self.mean) / self.std).unbind()
        low, high = torch.special.ndtr(lowest), torch.special.ndtr(highest)
        quantile = torch.special.ndtri(high - u * (high - low)).clamp(lowest, highest)
        return schedule.time_of(self.mean + self.std * quantile).float()
