"""Reads a network in the ONNX format, which may come from a stranger.

A file is a graph of operators and their weights, and runs no code of its own. It could still name operators
of other libraries, read weights from any file, or run without an end. Only what `to_onnx` writes is allowed:
the standard operators listed below, in one graph without branches and loops, with all weights inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError
from lightning_n2m.networks.onnx_network import onnx_package

MAX_BYTES = (1 << 31) - 1  # of a protobuf message
CONFIG_KEY = "config"
_NAMES = """
Add And Cast Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Div Equal Exp Expand Flatten Gather
Gemm Greater GreaterOrEqual Identity InstanceNormalization IsInf IsNaN LayerNormalization Less Log MatMul Mod
Mul Neg Not OneHot Or Pad Pow Range Reciprocal ReduceMax ReduceMean ReduceSum Reshape Shape Sigmoid Sin Slice
Softmax Split Sqrt Squeeze Sub Tile Transpose Unsqueeze Where
"""
OPERATORS = frozenset(_NAMES.split())


def with_config(content: bytes, config: str) -> bytes:
    """Add a config to a network in ONNX.

    Args:
        content: What `to_onnx` wrote.
        config: Text of the config.
    """
    onnx = onnx_package("onnx")
    model = onnx.load_model_from_string(content)
    onnx.helper.set_model_props(model, {CONFIG_KEY: config})
    return bytes(model.SerializeToString(deterministic=True))


def read_onnx(path: Path) -> tuple[bytes, str]:
    """A network in ONNX that has been checked, and its config.

    Args:
        path: A regular file.

    Raises:
        InputError: if the file is damaged, or holds anything else than a network that `export` writes.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path} has more than 2 GB, which a network in ONNX cannot have; export it again.")
    content = path.read_bytes()
    return content, check_onnx(content, path)


def check_onnx(content: bytes, source: Path) -> str:
    """Refuse a file that is more than a network.

    Args:
        content: The file.
        source: Its path, for messages.

    Returns:
        Text of the config that is stored in it.

    Raises:
        InputError: naming what is not allowed.
    """
    onnx = onnx_package("onnx")
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # of protobuf, whose classes differ between its versions
        raise InputError(f"{source} is damaged; export the run again.") from error
    libraries = [imported.domain for imported in (*model.opset_import, *model.functions)]
    unusual = [library for library in libraries if library not in ("", "ai.onnx")]
    if unusual or model.functions or model.training_info:
        raise InputError(
            f"{source} uses operators of another library ({str(unusual)[:80]}), which are not "
            "loaded; export the run again."
        )
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            raise InputError(
                f"{source} uses the operator {node.op_type[:40]!r} of {node.domain[:40]!r}, which the "
                "network of a stage does not have; export the run again."
            )
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise InputError(
                f"{source} has weights in another file, which is not read; export the run again."
            )
    texts = [entry.value for entry in model.metadata_props if entry.key == CONFIG_KEY]
    return texts[0] if len(texts) == 1 and isinstance(texts[0], str) else ""


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors of a graph: weights, and attributes of its nodes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
