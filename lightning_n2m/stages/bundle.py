"""A trained stage on disk: weights and the config that builds them, in one folder.

Both files carry the same identifier, a hash of the two together: in the first line of ``config.yaml`` and in
the metadata of ``weights.safetensors``, which also hold a copy of the config. A new bundle takes effect with
one rename, that of the weights. Where the identifiers differ, an export stopped between its two renames, and
the copy of the config is the one that belongs to the weights.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from lightning.pytorch import LightningModule
from safetensors.torch import save
from torch import Tensor, nn

from lightning_n2m.aliases import upgrade_config
from lightning_n2m.errors import InputError
from lightning_n2m.networks.resampling import widen_kernels
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.stages import low_rank
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle_config import check_config
from lightning_n2m.stages.bundle_weights import (
    WEIGHTS,
    checkpoint_weights,
    hash_weights,
    read_header,
    read_safetensors,
    regular_file,
    shapes_of,
    store,
)
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.storage import remove_partial_files, write_atomic
from lightning_n2m.yaml_reader import parse_yaml, read_text

CONFIG = "config.yaml"
NETWORK = "network.onnx"  # in the place of the weights, see `lightning_n2m.stages.onnx_bundle`
LAST = Path("checkpoints") / "last.ckpt"
BEST = Path("checkpoints") / "best.ckpt"
_ADAPTER_FOLDER = (
    "{} holds an adapter, not a stage; give the folder of its base, and this one under 'adapters'."
)
_IDENTIFIER = re.compile(r"# bundle ([0-9a-f]{16})\n")


class _PlainDumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice, not as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Never write an alias."""
        return True


def load_stage(folder: str | Path) -> Stage:
    """Build a stage from its config and load its (averaged) weights, ready to generate.

    Args:
        folder: What ``export`` wrote, the folder of a run, or the URL of a bundle.

    Raises:
        InputError: if the folder lacks config or weights, either is damaged, or they do not belong together.
    """
    folder = find_stage_folder(folder)
    config, weights = read_bundle(folder, lambda config: build_stage(config).network)
    stage = build_stage(config)
    if not _load_weights(stage, weights):
        if read_document(folder)[0].get("adapter") is not None:
            raise InputError(_ADAPTER_FOLDER.format(folder))
        raise InputError(f"The weights in {folder} do not fit its {CONFIG}; both must come from one run.")
    return stage.eval().requires_grad_(False)


def begin_with(stage: LightningModule, folder: str | Path) -> None:
    """Give a stage that is to be trained the weights of another training.

    Smaller kernels of strided layers are padded with zeros, see `widen_kernels`. Inputs that the other
    network lacks (step and guidance scale, known regions, numbers) start at zero.

    Args:
        stage: The stage.
        folder: What ``export`` wrote, the folder of a run, or the URL of a bundle.

    Raises:
        InputError: if it is no stage, there are no weights, or they are of a network of another shape.
    """
    if not isinstance(stage, Stage):
        raise InputError(
            f"--weights is for the stages of a cascade, not for {type(stage).__name__}; remove it."
        )
    weights = stage.network.with_new_inputs(read_weights(find_stage_folder(folder)))
    if not _load_weights(stage, widen_kernels(weights, stage.network)):
        raise InputError(
            f"--weights {folder}: its network has another shape than this config's; take over its config, or "
            "begin without its weights."
        )


def _load_weights(stage: Stage, weights: dict[str, Tensor]) -> bool:
    try:
        stage.network.load_state_dict(weights)
    except RuntimeError:
        return False
    return True


def save_stage(
    run: str | Path,
    folder: str | Path,
    half: bool = True,
    checkpoint: Path = LAST,
    base: Path | None = None,
    rank: int = 16,
) -> Path:
    """Write the averaged weights of a run and its config as a bundle.

    Args:
        run: Folder of a run, with ``config.yaml`` and ``checkpoints/last.ckpt``; or a bundle, or its URL.
        folder: Where to write; a bundle that is there is replaced only when the new one is complete.
        half: Store weights in 16 bits, except a tensor that exceeds their range.
        checkpoint: Which of the run's checkpoints: the last, or the one that validated best.
        base: A bundle beside ``folder``, relative to which the weights are stored; whole weights if none.
        rank: Rank of the difference from the base, see `lightning_n2m.stages.low_rank`.

    Raises:
        InputError: if the run lacks config or checkpoint, or they do not belong together.
    """
    run, folder = find_stage_folder(run), Path(folder)
    config = read_config(run)
    weights = read_weights(run, checkpoint=checkpoint)
    build_stage(config).network.load_state_dict(weights)  # A bundle that cannot be loaded is not written.
    if base is None:
        return write_bundle(folder, config, store(weights, half))
    section, stored = _relative_to(base, folder, weights, rank)
    return write_bundle(folder, config, store(stored, half), base=section)


def _relative_to(
    base: Path, folder: Path, weights: Mapping[str, Tensor], rank: int
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Section ``base`` and stored tensors of a bundle that is stored relative to another."""
    if base.resolve().parent != folder.resolve().parent or base.resolve() == folder.resolve():
        raise InputError(f"--base {base} is not beside {folder}; choose an output folder next to it.")
    if not (base / WEIGHTS).is_file() or low_rank.SECTION in read_document(base)[0]:
        raise InputError(f"--base {base} is not a bundle with whole weights; give one that 'export' wrote.")
    start = read_weights(base)
    if not start.keys() <= weights.keys():
        raise InputError(f"--base {base} has tensors that the run lacks; give that which it began with.")
    section = low_rank.Base(base.resolve(), hash_weights(start)).to_config()
    return section, low_rank.factorise(start, weights, rank)


def write_bundle(
    folder: Path,
    config: Mapping[str, Any],
    weights: dict[str, Tensor],
    section: str = "model",
    base: Mapping[str, str] | None = None,
) -> Path:
    """Write config and weights so that a reader finds the old bundle or the new one, never a mix.

    Args:
        folder: The bundle; it is made if it is not there.
        config: The main section of its config.
        weights: The tensors as they are to be stored.
        section: Name of that section: ``model``, or ``adapter``.
        base: Section ``base`` of a bundle that is stored relative to another.
    """
    document = {section: dict(config)} | ({low_rank.SECTION: dict(base)} if base else {})
    text = bundle_text(document, save(weights))
    folder.mkdir(parents=True, exist_ok=True)
    remove_partial_files(folder)
    # As bytes: safetensors would make a file that only its owner may read.
    write_atomic(folder / WEIGHTS, save(weights, metadata={"config": text}))
    write_atomic(folder / CONFIG, text)
    (folder / NETWORK).unlink(missing_ok=True)
    return folder


def bundle_text(document: Mapping[str, Any], content: bytes) -> str:
    """Text of the config of a bundle; the first line is the identifier of both files.

    Args:
        document: The sections.
        content: The other file, without its copy of the config.
    """
    text = yaml.dump(dict(document), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    digest = hashlib.sha256(text.encode() + content)
    return f"# bundle {digest.hexdigest()[:16]}\n{text}"


def read_bundle(
    folder: Path,
    build: Callable[[dict[str, Any]], nn.Module],
    prefix: str = "network.",
    checkpoint: Path = LAST,
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Config and weights that belong together.

    Args:
        folder: What ``export`` wrote, or the folder of a run.
        build: Builds the module that the weights are of; called on the meta device, where it takes no memory.
        prefix: Name of that module in a checkpoint, with a dot.
        checkpoint: Which of the run's checkpoints.

    Raises:
        InputError: if either is missing or damaged, or the weights are those of another network.
    """
    for _ in range(3):
        config, weights_identifier = _read_config(folder)
        if (folder / WEIGHTS).is_file():
            # Before tensors of these shapes are allocated.
            _check_shapes(build, config, regular_file(folder, WEIGHTS))
        weights = read_weights(folder, prefix, checkpoint)
        # Another process may have exported in between.
        if _read_config(folder)[1] == weights_identifier:
            return config, weights
    raise InputError(f"{folder} is being written by another process; wait until its export has ended.")


def _check_shapes(build: Callable[[dict[str, Any]], nn.Module], config: dict[str, Any], path: Path) -> None:
    """Compare a module without memory to the header of its weights."""
    with torch.device("meta"):
        module = build(config)
    expected = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    shapes = shapes_of(read_header(path))
    base = _base_of(path.parent)
    if base is not None:
        shapes = low_rank.restored_shapes(base.shapes(), shapes, path)
    if expected != shapes:
        raise InputError(
            f"The weights in {path.parent} do not fit its {CONFIG}; both must come from one run."
        )


def _base_of(folder: Path) -> low_rank.Base | None:
    """What a bundle is stored relative to; none where it holds whole weights."""
    document, _ = read_document(folder)
    return low_rank.Base.beside(folder, document[low_rank.SECTION]) if low_rank.SECTION in document else None


def read_config(folder: Path) -> dict[str, Any]:
    """The ``model`` section of a folder's config, checked and with the names of this version.

    Raises:
        InputError: if there is none, or it names code outside the trusted packages.
    """
    return _read_config(folder)[0]


def _read_config(folder: Path) -> tuple[dict[str, Any], str | None]:
    """The ``model`` section, and the identifier of the weights."""
    document, identifier = read_document(folder)
    section = document.get("model")
    path = folder / CONFIG
    if not isinstance(section, Mapping):
        if "adapter" in document:
            raise InputError(_ADAPTER_FOLDER.format(folder))
        raise InputError(f"{path} has no readable 'model' section; export the run again.")
    config = upgrade_config({"model": section})["model"]
    check_config(config, str(path))
    return config, identifier


def read_document(folder: Path) -> tuple[Mapping[Any, Any], str | None]:
    """The config of a folder as it was written, not checked, and the identifier of the weights.

    Raises:
        InputError: if there is none, or it is not valid YAML.
    """
    if not (folder / CONFIG).exists():
        raise InputError(
            f"{folder} holds no {CONFIG}, so it is not a stage folder; give one that 'fit' or 'export' wrote."
        )
    path = regular_file(folder, CONFIG)
    text, identifier = read_text(path), None
    if _IDENTIFIER.match(text) and (folder / WEIGHTS).is_file():
        embedded = read_header(regular_file(folder, WEIGHTS)).get("__metadata__", {}).get("config", "")
        if _identifier(embedded) not in (None, _identifier(text)):
            text = embedded  # An export stopped between its two renames.
        identifier = _identifier(embedded)
    document = parse_yaml(text, str(path))
    return document if isinstance(document, Mapping) else {}, identifier


def _identifier(text: str) -> str | None:
    match = _IDENTIFIER.match(text)
    return match[1] if match else None


def read_weights(folder: Path, prefix: str = "network.", checkpoint: Path = LAST) -> dict[str, Tensor]:
    """Exported weights of a folder, or the averaged ones of a run's checkpoint.

    Args:
        folder: The bundle or the run.
        prefix: Name of the wanted part of the trained module, with a dot.
        checkpoint: Which of the run's checkpoints.

    Raises:
        InputError: if there are none, they are damaged, or a tensor is not finite.
    """
    if (folder / WEIGHTS).exists():
        path = regular_file(folder, WEIGHTS)
        base = _base_of(folder)
        if base is None:
            return read_safetensors(path)
        low_rank.restored_shapes(base.shapes(), shapes_of(read_header(path)), path)
        return low_rank.restore(base.weights(), read_safetensors(path))
    if (folder / NETWORK).exists():
        raise InputError(
            f"{folder} holds a network in ONNX, which can only be sampled from; give the run or bundle that "
            "it was exported from."
        )
    if not (folder / checkpoint).exists():
        raise InputError(
            f"{folder} holds neither {WEIGHTS} nor {checkpoint}; train the stage, or give another folder."
        )
    return checkpoint_weights(folder / checkpoint, prefix)
