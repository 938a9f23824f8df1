"""Sharding of network, gradients, optimiser and average over the ranks (FSDP2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from lightning_n2m.networks.blocks import Block
from lightning_n2m.networks.resampling import Down, Up
from lightning_n2m.networks.unet import UNet1d

UNITS = (Block, Down, Up)  # modules whose parameters are gathered one module at a time


class FullyShardedStrategy(ModelParallelStrategy):
    """Fully sharded data parallelism over all ranks of all nodes.

    Lightning's own strategy shards across nodes and splits tensors within a node. Here every rank holds a
    shard of every parameter and reads its own clips. Checkpoints are complete and equal those of any other
    strategy, so that a run can resume under another one.

    Args:
        kwargs: See `lightning.pytorch.strategies.ModelParallelStrategy`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("auto", 1, save_distributed_checkpoint=False, **kwargs)

    def setup_environment(self) -> None:
        """Count the ranks, then set up the mesh."""
        self._data_parallel_size = self.num_nodes * self.num_processes
        super().setup_environment()


def shard(network: UNet1d, mesh: DeviceMesh) -> None:
    """Shard a network in place; keys and shapes of its checkpoint stay as they are.

    The parameters of a block or strided layer are gathered when it runs and freed afterwards. They are
    gathered in their own precision and autocast converts them, so that the results equal those of DDP.

    Args:
        network: The network; nothing happens if it is sharded already.
        mesh: Device mesh with one dimension, the ranks.
    """
    if isinstance(network, FSDPModule):
        return
    for module in network.modules():
        if isinstance(module, UNITS):
            fully_shard(module, mesh=mesh)
    # Free the root's parameters after the forward pass too: the EMA swap works shard by shard.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)


def number_by_module(optimizer_states: Iterable[dict[str, Any]], module: nn.Module) -> None:
    """Number the trained parameters of optimiser states by their places among all parameters, in place.

    An optimiser numbers its own parameters. FSDP2 numbers those of the module, which differ where some are
    frozen. With one numbering, a run can resume under another strategy.

    Args:
        optimizer_states: State dicts of optimisers of all parameters that are trained.
        module: The module.
    """
    places = [n for n, parameter in enumerate(module.parameters()) if parameter.requires_grad]
    for state in optimizer_states:
        state["state"] = {places[n]: moments for n, moments in state["state"].items()}
        for group in state["param_groups"]:
            group["params"] = [places[n] for n in group["params"]]
