"""Sharding of network, gradients, optimiser and average over the ranks (FSDP2)."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
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
