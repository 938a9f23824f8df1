"""Muon for the matrices of a network, Adam for all other parameters, as one optimiser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

_MATRIX_LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d)
# Layers at the input and output of a network: their rows or columns are single samples or mel channels.
_BOUNDARY_LAYERS = ("entry", "exit")


def split_parameters(module: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Trainable parameters of a module that Muon takes, and the others.

    Muon takes the weights of linear layers and the kernels of convolutions. Biases, norms, embeddings and the
    layers named ``entry`` and ``exit`` stay with Adam, as Jordan et al. 2024 recommend.

    Args:
        module: The module.

    Returns:
        Matrices and kernels; all other parameters. Both in the order of ``module.parameters()``.
    """
    matrix_ids = {
        id(layer.weight)
        for name, layer in module.named_modules()
        if isinstance(layer, _MATRIX_LAYERS) and name.rpartition(".")[2] not in _BOUNDARY_LAYERS
    }
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trainable if id(parameter) in matrix_ids]
    return matrices, [parameter for parameter in trainable if id(parameter) not in matrix_ids]


class MuonWithAdam(torch.optim.Optimizer):
    """`torch.optim.Muon` for matrices and flattened kernels, `torch.optim.Adam` for the rest.

    Lightning trains with one optimiser, so both are behind one: two parameter groups, one state. A kernel
    ``(c_out, c_in, k)`` is one matrix ``(c_out, c_in * k)``. The update of a matrix is scaled to the size of
    Adam's (Liu et al. 2025, "Muon is scalable"), so that one learning rate serves both groups.

    Args:
        matrices: Parameters of two or more dimensions for Muon.
        others: Parameters for Adam.
        learning_rate: Rate of both.
        betas: Adam's decay rates.
        momentum: Muon's momentum.
    """

    def __init__(
        self,
        matrices: Sequence[nn.Parameter],
        others: Sequence[nn.Parameter],
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        momentum: float = 0.95,
    ) -> None:
        # Views share the memory of the kernels, so that Muon's update changes the kernels themselves.
        views = [nn.Parameter(matrix.detach().flatten(1)) for matrix in matrices]
        for view, matrix in zip(views, matrices, strict=True):
            assert view.data_ptr() == matrix.data_ptr(), "a kernel is not contiguous"
        self._parts: list[tuple[torch.optim.Optimizer, list[nn.Parameter], list[nn.Parameter]]] = []
        if views:
            muon = torch.optim.Muon(
                views, learning_rate, weight_decay=0, momentum=momentum, adjust_lr_fn="match_rms_adamw"
            )
            self._parts.append((muon, list(matrices), views))
        if others:
            adam = torch.optim.Adam(others, learning_rate, betas, fused=True)
            self._parts.append((adam, list(others), list(others)))
        groups: list[dict[str, Any]] = [
            {**part.param_groups[0], "params": parameters} for part, parameters, _ in self._parts
        ]
        super().__init__(groups, {"lr": learning_rate})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step of both, with the rates of this optimiser's groups.

        Args:
            closure: Computes loss and gradients.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group, (part, parameters, views) in zip(self.param_groups, self._parts, strict=True):
            part.param_groups[0].update({key: value for key, value in group.items() if key != "params"})
            for parameter, view in zip(parameters, views, strict=True):
                if view is not parameter:
                    view.grad = None if parameter.grad is None else parameter.grad.flatten(1)
            part.step()
            # One state, under the parameters of the network: a checkpoint then holds that of both.
            for parameter, view in zip(parameters, views, strict=True):
                if view is not parameter:
                    view.grad = None
                if view in part.state:
                    self.state[parameter] = part.state[view]
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore momenta and moments.

        Args:
            state_dict: What ``state_dict`` returned.
        """
        super().load_state_dict(state_dict)
        for part, parameters, views in self._parts:
            for parameter, view in zip(parameters, views, strict=True):
                if parameter in self.state:
                    part.state[view] = self.state[parameter]
