"""Sharding of network, gradients, optimiser and average over the ranks (FSDP2)."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from lightning_n2m.networks.blocks import Block
from lightning_n2m.networks.resampling import Down, Up
from lightning_n2m.networks.unet import UNet1d

UNITS = (Block, Down, Up)  # gathered one at a time


class FullyShardedStrategy(ModelParallelStrategy):
    """Fully sharded data parallelism over all ranks of all nodes.

    Lightning's own strategy shards over the nodes and splits tensors within one; here every rank has a
    shard of everything and clips of its own. Checkpoints are whole, the same as those of any other
    strategy, so that a run may change between them.

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

    Each block and strided layer is gathered when it runs and let go of afterwards. Parameters are
    gathered in their own precision and autocast does the rest, so that the numbers are those of DDP.

    Args:
        network: What to shard; nothing happens if it is sharded already.
        mesh: One dimension, the ranks.
    """
    if isinstance(network, FSDPModule):
        return
    for module in network.modules():
        if isinstance(module, UNITS):
            fully_shard(module, mesh=mesh)
    # Let go of even what the root holds: averaged weights are swapped in shard by shard.
    fully_shard(network, mesh=mesh, reshard_after_forward=True)
