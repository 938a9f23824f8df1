"""Evaluates a U-Net in the ONNX format by ONNX Runtime, on the CPU."""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_n2m.errors import InputError
from lightning_n2m.integers import ceil_div
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d

OUTPUT = "output"
_NEVER_ABSENT = ("stacked", "aligned")
_SILENT = 4  # ONNX Runtime's own messages; its exceptions hold the same text


def onnx_package(name: str) -> ModuleType:
    """Import a package of the extra ``onnx``.

    Raises:
        InputError: if it is missing.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise InputError(
            f"Networks in ONNX need the package {package}, which is not installed; install it with: pip "
            "install 'lightning_n2m[onnx]'."
        ) from error


def absent_inputs(network: UNet1d, batch: int, length: int, tokens: int = 1) -> dict[str, Tensor]:
    """The conditions that a network takes, each with the value that stands for its absence.

    Args:
        network: The network; only its layers are read, not their weights.
        batch: Number of samples.
        length: Steps of x_t.
        tokens: Number of text vectors.

    Returns:
        Tensors by the names of the fields of `Conditions`, in the order in which the inputs are exported.
        Stacked and aligned signals are zero, but a network that takes them needs them.
    """
    values: dict[str, Tensor] = {}
    stacked = network.entry.in_channels - network.channels
    if network.text_channels is not None:
        values["text"] = torch.zeros(batch, tokens, network.text_channels)
        values["text_mask"] = torch.zeros(batch, tokens, dtype=torch.bool)
    if stacked:
        values["stacked"] = torch.zeros(batch, stacked, length)
    if network.aligned is not None:
        steps = ceil_div(length, network.total_stride)
        values["aligned"] = torch.zeros(batch, network.aligned.in_channels, steps)
    if network.known is not None:
        values["known"] = torch.zeros(batch, network.known.in_channels, length)
    for name, layer, absent in (
        ("level", network.level, 0.0),
        ("step", network.step, 0.0),
        ("guidance", network.guidance, 1.0),
    ):
        if layer is not None:
            values[name] = torch.full((batch,), absent)
    numbers = {
        "tempo": torch.full((batch,), torch.nan),
        "tonic": torch.full((batch,), -1),
        "mode": torch.full((batch,), -1),
        "beat_phase": torch.zeros(batch, 2, length),
    }
    return values | {name: numbers[name] for name in network.number_names}


def free_axes(name: str, value: Tensor) -> dict[int, str]:
    """Axes of an input or output that may have any size, with their names in the file."""
    if name in ("text", "text_mask"):
        return {0: "batch", 1: "tokens"}
    if value.dim() == 1:
        return {0: "batch"}
    return {0: "batch", 2: "aligned_length" if name == "aligned" else "length"}


class OnnxNetwork(nn.Module):
    """A U-Net whose evaluation is that of an ONNX file. It has no gradients.

    It uses as many threads as PyTorch, wherever the tensors are. All attributes that describe the U-Net, such
    as ``channels``, are available under their names.

    Args:
        layout: The U-Net on the meta device, which has no weights.
        content: The ONNX file, checked by `lightning_n2m.stages.onnx_file.check_onnx`.
        source: Its path, for messages.

    Raises:
        InputError: if ONNX Runtime cannot load the file, or it has other inputs than the U-Net.
    """

    sha256: Tensor

    def __init__(self, layout: UNet1d, content: bytes, source: str) -> None:
        super().__init__()
        self._layout = (layout,)  # In a tuple: its tensors are no part of this module's weights.
        self._content, self._source = content, source
        # The state dict of this network, by which generated clips record the weights.
        digest = hashlib.sha256(content).digest()
        self.register_buffer("sha256", torch.frombuffer(bytearray(digest), dtype=torch.uint8))
        self._threads, self._session = torch.get_num_threads(), self._load()
        self._check_inputs()

    def __getattr__(self, name: str) -> Any:
        """Attributes of the U-Net that this network does not have itself."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_"):
                raise
            return getattr(self._layout[0], name)

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """Parameters of the U-Net without values, to be counted."""
        return self._layout[0].parameters(recurse)

    @torch.no_grad()
    def forward(self, x: Tensor, t: Tensor, conditions: Conditions | None = None) -> Tensor:
        """One network evaluation, as `UNet1d.forward`.

        Raises:
            InputError: if gradients are needed, or ONNX Runtime stops, for example for want of memory.
        """
        if x.requires_grad:
            raise InputError(
                f"{self._source} is a network in ONNX, which has no gradients; set data.corrections to 0, or "
                "use the bundle that it was exported from."
            )
        conditions = conditions or Conditions()
        inputs = {"x": x, "t": t} | absent_inputs(self._layout[0], len(x), x.shape[-1])
        for name in inputs.keys() - {"x", "t"}:
            value = getattr(conditions, name)
            if value is not None:
                inputs[name] = value
            elif name in _NEVER_ABSENT:
                raise ValueError(f"The network needs the condition '{name}'.")
        if self._threads != torch.get_num_threads():
            self._threads, self._session = torch.get_num_threads(), self._load()
        try:
            (output,) = self._session.run([OUTPUT], {n: _to_numpy(inputs[n]) for n in self._names})
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise InputError(f"{self._source} cannot be evaluated: {_first_line(error)}.") from error
        return torch.from_numpy(output).to(x)

    @functools.cached_property
    def _names(self) -> list[str]:
        return [value.name for value in self._session.get_inputs()]

    def _load(self) -> Any:
        runtime = onnx_package("onnxruntime")
        _limit_memory(runtime)
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
        options.log_severity_level = _SILENT
        options.add_session_config_entry("session.use_env_allocators", "1")
        # Threads that wait in a loop would take the processor from PyTorch's.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            # No second attempt with other settings, and no settings from the file itself.
            return runtime.InferenceSession(
                self._content,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
                read_config_from_model=0,
            )
        except Exception as error:  # ONNX Runtime's errors have no class in common
            raise InputError(
                f"{self._source} is not a network that ONNX Runtime can load: {_first_line(error)}."
            ) from error

    def _check_inputs(self) -> None:
        layout = self._layout[0]
        values = {"x": torch.zeros(1, layout.channels, 1), "t": torch.zeros(1)} | absent_inputs(layout, 1, 1)
        expected = {name: _signature(name, value) for name, value in values.items()}
        inputs = {
            value.name: (value.type, [n if isinstance(n, int) else None for n in value.shape])
            for value in self._session.get_inputs()
        }
        outputs = [value.name for value in self._session.get_outputs()]
        if inputs != {name: expected.get(name) for name in inputs} or outputs != [OUTPUT]:
            raise InputError(f"The network in {self._source} does not fit its config; export the run again.")


def _signature(name: str, value: Tensor) -> tuple[str, list[int | None]]:
    """Type and shape of an input as ONNX Runtime states them, free axes as null."""
    kind = {torch.float32: "float", torch.int64: "int64", torch.bool: "bool"}[value.dtype]
    free = free_axes(name, value)
    return f"tensor({kind})", [None if axis in free else size for axis, size in enumerate(value.shape)]


def _to_numpy(value: Tensor) -> np.ndarray[Any, Any]:
    value = value.float() if value.is_floating_point() else value
    return np.ascontiguousarray(value.cpu().numpy())


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


@functools.cache
def _limit_memory(runtime: ModuleType) -> None:
    """Let all networks together take half of the memory: a file from a stranger could take any amount."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    runtime.set_default_logger_severity(_SILENT)
    place = runtime.OrtMemoryInfo(
        "Cpu", runtime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, runtime.OrtMemType.DEFAULT
    )
    # Extended by what is requested (1), not by powers of two.
    settings = runtime.OrtArenaCfg({"max_mem": memory, "arena_extend_strategy": 1})
    runtime.create_and_register_allocator(place, settings)
