"""Linear probes on the evaluating tagger's embedding, fitted to recordings of known truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on the mean embedding of a clip.

    It is fitted to recordings of the training split only, and its accuracy is measured on held-out
    recordings. It takes no part in the training of a generator.

    Args:
        labels: Names of the classes.
        exclusive: Whether exactly one label holds (a genre), or any number (families of instruments).
        mean: Mean of the embeddings, ``(d,)``.
        scale: Their standard deviation, ``(d,)``.
        weight: ``(labels, d)``.
        bias: ``(labels,)``.
    """

    labels: tuple[str, ...]
    exclusive: bool
    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def scores(self, embedding: Tensor) -> Tensor:
        """Log-odds (or, where exclusive, unnormalised log-probabilities) ``(b, labels)`` of ``(b, d)``."""
        return F.linear((embedding.double() - self.mean) / self.scale, self.weight, self.bias)

    def predict(self, embedding: Tensor, label: str) -> Tensor:
        """Whether a label holds, ``(b, d)`` to ``(b,)``; not for exclusive ones."""
        return self.scores(embedding)[:, self.labels.index(label)] > 0

    def top(self, embedding: Tensor, k: int) -> list[list[str]]:
        """The ``k`` best labels of each clip, best first."""
        best = self.scores(embedding).topk(min(k, len(self.labels)), dim=1).indices
        return [[self.labels[i] for i in row] for row in best.tolist()]


def fit_probe(
    embedding: Tensor, truth: Sequence[Sequence[str]], exclusive: bool = False, penalty: float = 0.003
) -> LinearProbe:
    """Fit to the optimum by L-BFGS in float64, reproducible on every machine.

    Args:
        embedding: Mean embedding of each clip, ``(clips, d)``.
        truth: Labels of each clip.
        exclusive: Whether exactly one label holds for a clip.
        penalty: Weight of the squared weights.
    """
    labels = tuple(sorted({label for row in truth for label in row}))
    x = embedding.double()
    mean, scale = x.mean(dim=0), x.std(dim=0).clamp(min=1e-6)
    x = (x - mean) / scale
    y = torch.tensor([[float(label in row) for label in labels] for row in truth], dtype=torch.float64)
    # Presence of a rare label weighs as much as its absence, so that both kinds of error are balanced.
    positive = ((len(y) - y.sum(dim=0)) / y.sum(dim=0)).clamp(max=50.0)
    weight = torch.zeros(len(labels), x.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(len(labels), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        scores = F.linear(x, weight, bias)
        if exclusive:
            value = F.cross_entropy(scores, y)
        else:
            value = F.binary_cross_entropy_with_logits(scores, y, pos_weight=positive)
        value = value + penalty * weight.square().sum()
        value.backward()
        return value

    with torch.enable_grad():
        optimizer.step(loss)
    return LinearProbe(labels, exclusive, mean, scale, weight.detach(), bias.detach())
