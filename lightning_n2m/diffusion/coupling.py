"""Coupling of noise and data by minibatch optimal transport (Pooladian et al. 2023, Tong et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lightning_n2m.errors import InputError


def complete_groups(streams: Sequence[int], positions: Sequence[int], size: int) -> list[list[int]]:
    """Rows of a batch by group: ``size`` consecutive samples of one stream, from a multiple of ``size``.

    Args:
        streams: Stream of each row.
        positions: Position of each row in its stream.
        size: Samples in a group.

    Returns:
        The rows of each group, in order of their positions.

    Raises:
        InputError: if the batch holds a part of a group only.
    """
    rows: dict[tuple[int, int], dict[int, int]] = {}
    for row, (stream, position) in enumerate(zip(streams, positions, strict=True)):
        rows.setdefault((stream, position // size), {})[position % size] = row
    for group in rows.values():
        if len(group) != size:
            raise InputError(
                f"model.transport_group is {size}, but a batch holds only {len(group)} samples of a group; "
                "choose a divisor of data.batch_size over the streams of a rank, and of the batch with which "
                "the run began."
            )
    return [[group[place] for place in range(size)] for group in rows.values()]


def couple(x0: Tensor, noise: Tensor, groups: Sequence[Sequence[int]]) -> Tensor:
    """Permute the noise within each group so that the sum of squared distances to the data is the smallest.

    The marginal distributions of data and noise stay as they are. The assignment follows from the group's
    data and noise alone.

    Args:
        x0: Clean data, ``(b, c, t)``.
        noise: Independent noise, ``(b, c, t)``.
        groups: Rows of each group.

    Returns:
        The noise of each row, ``(b, c, t)``.
    """
    order = list(range(len(noise)))
    for group in groups:
        rows = list(group)
        # |x - e|^2 = |x|^2 + |e|^2 - 2 x e, of which only the product depends on the assignment. In float64,
        # so that the result does not depend on the shape of the batch.
        products = x0[rows].flatten(1).double() @ noise[rows].flatten(1).double().T
        _, columns = linear_sum_assignment(products.cpu().numpy(), maximize=True)
        for row, column in zip(rows, columns, strict=True):
            order[row] = rows[column]
    return noise[torch.tensor(order, device=noise.device)]
