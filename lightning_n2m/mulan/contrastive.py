"""The contrastive loss of two towers, over the samples of all ranks."""

from __future__ import annotations

import torch
import torch.distributed as distributed
from torch import Tensor
from torch.distributed.nn.functional import all_gather


def gather(tensor: Tensor) -> Tensor:
    """Rows of all ranks in their order, with gradients: ``(b, ...)`` to ``(ranks * b, ...)``."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    if tensor.requires_grad:
        return torch.cat(all_gather(tensor))
    rows = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(rows, tensor)
    return torch.cat(rows)


def contrastive_loss(audio: Tensor, text: Tensor, scale: Tensor, identity: Tensor) -> Tensor:
    """Cross entropy of finding the text to an audio and the audio to a text (Radford et al. 2021).

    Args:
        audio: Unit vectors ``(n, d)`` of all ranks.
        text: Unit vectors ``(n, d)``, row by row what belongs to the audio.
        scale: Inverse temperature.
        identity: Numbers ``(n, k)``: samples that agree in any of the k are no negatives of each other.
            Two clips of one track, or with one and the same caption, would otherwise be pushed apart
            though they fit.

    Returns:
        The mean loss of both directions.
    """
    logits = scale * audio @ text.T
    same = (identity[:, None] == identity[None]).any(dim=-1)
    same.fill_diagonal_(False)
    logits = logits.masked_fill(same, -torch.inf)
    target = torch.arange(len(logits), device=logits.device)
    forwards = torch.nn.functional.cross_entropy(logits, target)
    backwards = torch.nn.functional.cross_entropy(logits.T, target)
    return (forwards + backwards) / 2
