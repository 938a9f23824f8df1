"""A stage for sampling whose network is in ONNX: ``config.yaml`` and ``network.onnx`` in one folder.

The config names the format and is copied into the network. Both files carry the same identifier, as those of
an ordinary bundle (`lightning_n2m.stages.bundle`). Such a folder cannot be trained, adapted or merged.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_n2m.errors import InputError
from lightning_n2m.networks.onnx_export import to_onnx
from lightning_n2m.networks.onnx_network import OnnxNetwork, onnx_package
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import (
    CONFIG,
    LAST,
    NETWORK,
    bundle_text,
    load_stage,
    read_config,
    read_document,
    read_weights,
)
from lightning_n2m.stages.bundle_weights import WEIGHTS, regular_file
from lightning_n2m.stages.onnx_file import MAX_BYTES, check_onnx, read_onnx, with_config
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.storage import remove_partial_files, write_atomic
from lightning_n2m.yaml_reader import read_text

FORMAT = "onnx"  # value of the key `format` in the config


def save_onnx(run: str | Path, folder: str | Path, checkpoint: Path = LAST) -> Path:
    """Write the network of a trained stage as ONNX, and its config.

    Args:
        run: Folder of a run or bundle, or the URL of a bundle.
        folder: Where to write; an export that is there is replaced only when the new one is complete.
        checkpoint: Which of a run's checkpoints: the last, or the one that validated best.

    Raises:
        InputError: if the run lacks config or weights, the network is too large for the format, or the
            folder holds another bundle.
    """
    run, folder = find_stage_folder(run), Path(folder)
    for package in ("onnx", "onnxruntime"):
        onnx_package(package)
    if (folder / WEIGHTS).exists():
        raise InputError(f"{folder} holds {WEIGHTS} already; give another folder for the network in ONNX.")
    config = read_config(run)
    stage = build_stage(config)
    stage.network.load_state_dict(read_weights(run, checkpoint=checkpoint))
    if sum(4 * parameter.numel() for parameter in stage.network.parameters()) > MAX_BYTES:
        raise InputError(f"The network of {run} has more than 2 GB, which ONNX does not hold in one file.")
    content = to_onnx(stage.network)
    text = bundle_text({"format": FORMAT, "model": config}, content)
    content = with_config(content, text)
    path = folder / NETWORK
    check_onnx(content, path)
    with torch.device("meta"):
        layout = build_stage(config).network
    OnnxNetwork(layout, content, str(path))  # A network that cannot be loaded is not written.
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    write_atomic(path, content)
    write_atomic(folder / CONFIG, text)
    return folder


def load_for_sampling(folder: str | Path) -> Stage:
    """A trained stage to sample from, whether its network is in ONNX or not.

    Args:
        folder: What ``export`` wrote, the folder of a run, or the URL of a bundle.

    Raises:
        InputError: if the folder holds no stage, or a file is damaged.
    """
    folder = find_stage_folder(folder)
    if read_document(folder)[0].get("format") != FORMAT:
        return load_stage(folder)
    config = read_config(folder)
    if not (folder / NETWORK).exists():
        raise InputError(f"{folder} holds no {NETWORK}, which its {CONFIG} names; export the run again.")
    path = regular_file(folder, NETWORK)
    content, text = read_onnx(path)
    # Settings below the first line may have been edited; the first line is that of the export.
    if text.partition("\n")[0] != read_text(folder / CONFIG).partition("\n")[0]:
        raise InputError(f"{folder}: {CONFIG} and {NETWORK} are of two exports; export the run again.")
    with torch.device("meta"):
        layout = build_stage(config).network
    # Before memory is allocated for such a network; its numbers have one byte at least.
    if sum(parameter.numel() for parameter in layout.parameters()) > len(content):
        raise InputError(f"The network in {path} does not fit its {CONFIG}; export the run again.")
    stage = build_stage(config)
    stage.network = OnnxNetwork(layout, content, str(path))  # type: ignore[assignment]
    return stage.eval().requires_grad_(False)
