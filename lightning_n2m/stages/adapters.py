"""Adapters of a stage: training, reading, writing, and use at a strength.

An adapter belongs to one base, the exact weights that it was trained on. It names them by the hash of their
values, and any other stage refuses it. Its bundle has the files of a stage's bundle, with a section
``adapter`` in the config in the place of ``model``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.adapters import (
    AdapterSettings,
    WeightedAdapter,
    adapter_tensors,
    attach,
    expected_shapes,
    factorise,
    is_adapter_key,
    merge,
)
from lightning_n2m.networks.onnx_network import OnnxNetwork
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import (
    CONFIG,
    LAST,
    begin_with,
    load_stage,
    read_config,
    read_document,
    read_weights,
    write_bundle,
)
from lightning_n2m.stages.bundle_weights import (
    WEIGHTS,
    check_finite,
    checkpoint_weights,
    hash_weights,
    read_checkpoint,
    read_header,
    read_safetensors,
    regular_file,
    store,
)

MAX_STRENGTH = 4.0
_HASH = re.compile(r"[0-9a-f]{64}")
_PATTERN = re.compile(r"[A-Za-z0-9_.*?\[\]!-]{1,200}")
_KEYS = {"stage", "base", "method", "rank", "alpha", "layers", "seed"}


@dataclass(frozen=True)
class AdapterInfo:
    """What an adapter is, beside its tensors.

    Args:
        settings: Its form.
        stage: Class name of the stage that it changes.
        base: Hash of the weights that it was trained on, see `hash_weights`.
    """

    settings: AdapterSettings
    stage: str
    base: str

    def to_config(self) -> dict[str, Any]:
        """The ``adapter`` section of a bundle."""
        form = asdict(self.settings)
        return {"stage": self.stage, "base": self.base, **form, "layers": list(self.settings.layers)}

    @classmethod
    def from_config(cls, section: Any, source: object) -> AdapterInfo:
        """Read an ``adapter`` section, which may come from a stranger.

        Args:
            section: What the YAML holds.
            source: Name of its file, for messages.

        Raises:
            InputError: naming the key that is missing, unknown or wrong.
        """
        if not isinstance(section, Mapping) or set(section) != _KEYS:
            raise InputError(
                f"{source}: the section 'adapter' needs the keys {', '.join(sorted(_KEYS))} and no others; "
                "export the run again."
            )
        layers = section["layers"]
        for key, is_valid in (
            ("stage", isinstance(section["stage"], str) and section["stage"].isidentifier()),
            ("base", isinstance(section["base"], str) and _HASH.fullmatch(section["base"]) is not None),
            ("method", isinstance(section["method"], str)),
            ("rank", type(section["rank"]) is int),
            ("alpha", type(section["alpha"]) in (int, float)),
            ("seed", type(section["seed"]) is int),
            (
                "layers",
                isinstance(layers, list | tuple)
                and 0 < len(layers) <= 64
                and all(isinstance(pattern, str) and _PATTERN.fullmatch(pattern) for pattern in layers),
            ),
        ):
            if not is_valid:
                raise InputError(f"{source}: adapter.{key} is not valid; export the run again.")
        form = {name: section[name] for name in ("method", "rank", "alpha", "layers", "seed")}
        return cls(AdapterSettings(**form), section["stage"], section["base"])


def train_adapter(stage: LightningModule, base: str | Path, settings: AdapterSettings) -> None:
    """Load the base, freeze it, and add an adapter: optimiser, average and checkpoints hold nothing else.

    Args:
        stage: A stage that is to be trained.
        base: What ``export`` wrote, the folder of a run, or the URL of a bundle.
        settings: Form of the adapter.

    Raises:
        InputError: if the weights are not those of the whole stage, its optimiser is not Adam, or a pattern
            matches no layer.
    """
    begin_with(stage, base)
    assert isinstance(stage, Stage)
    if stage.optimisation.optimizer != "adam":
        raise InputError(
            f"model.optimisation.optimizer is {stage.optimisation.optimizer}, which adapters do not train "
            "with; set it to adam."
        )
    digest = hash_weights(stage.network.state_dict())
    if digest != hash_weights(read_weights(find_stage_folder(base))):
        raise InputError(
            f"The config builds another network than that of {base}, with further inputs or larger kernels; "
            f"set model.network as in {base}/{CONFIG}."
        )
    attach(stage.network, settings)
    stage.adapter = AdapterInfo(settings, type(stage).__name__, digest).to_config()
    # Checkpoints hold the adapter alone; `Stage.check_checkpoint` checks that they hold all of it. These are
    # hooks of the module, so that its copy for the average has them too.
    stage.strict_loading = False
    stage.register_state_dict_post_hook(_keep_adapter)
    stage.register_load_state_dict_post_hook(_base_is_loaded)


def _keep_adapter(module: nn.Module, state: dict[str, Tensor], prefix: str, metadata: Any) -> None:
    """Remove all tensors but those of the adapter from a state dict."""
    for name in [name for name in state if name.startswith(prefix) and not is_adapter_key(name)]:
        del state[name]


def _base_is_loaded(module: nn.Module, incompatible_keys: Any) -> None:
    """Do not report the tensors of the base as missing: they come from its own folder."""
    missing = incompatible_keys.missing_keys
    missing[:] = [name for name in missing if is_adapter_key(name)]


def is_adapter_run(folder: Path, checkpoint: Path = LAST) -> bool:
    """Whether a folder is that of a run that trained an adapter."""
    document, _ = read_document(folder)
    return not (folder / WEIGHTS).is_file() and document.get("adapter") is not None


def read_adapter(folder: str | Path, checkpoint: Path = LAST) -> tuple[AdapterInfo, dict[str, Tensor]]:
    """Info and tensors of an adapter.

    Args:
        folder: What ``export`` wrote, or the folder of a run.
        checkpoint: Which of the run's checkpoints.

    Raises:
        InputError: if the folder holds no adapter, or it is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"The adapter folder {folder} does not exist; train one with 'fit --adapter'.")
    document, _ = read_document(folder)
    if not isinstance(document.get("adapter"), Mapping):
        raise InputError(f"{folder} holds no adapter; give the folder of a run of 'fit --adapter'.")
    if not (folder / WEIGHTS).is_file():
        content = read_checkpoint(folder / checkpoint)
        info = AdapterInfo.from_config(content.get("adapter"), folder / checkpoint)
        return info, adapter_tensors(checkpoint_weights(folder / checkpoint, "network."))
    for _ in range(3):
        document, identifier = read_document(folder)
        info = AdapterInfo.from_config(document.get("adapter"), folder / CONFIG)
        # The base is not known yet: the shapes are those that its header and the file's length allow.
        read_header(regular_file(folder, WEIGHTS))
        tensors = read_safetensors(regular_file(folder, WEIGHTS))
        # Another process may have exported in between.
        if read_document(folder)[1] == identifier:
            return info, tensors
    raise InputError(f"{folder} is being written by another process; wait until its export has ended.")


def add_adapters(stage: Stage, folders: Sequence[tuple[str | Path, float]]) -> None:
    """Add trained adapters to the weights of a stage, see `lightning_n2m.networks.adapters.merge`.

    Args:
        stage: A stage with the weights of the adapters' base.
        folders: Folder and strength of each adapter; the order has no effect.

    Raises:
        InputError: if an adapter was trained on other weights, or a strength is out of range.
    """
    if not folders:
        return
    if isinstance(stage.network, OnnxNetwork):
        raise InputError(
            f"The network of this {type(stage).__name__} is in ONNX, which takes no adapter; merge it with "
            "'n2m export --merge', and export the result with --format onnx."
        )
    digest = hash_weights(stage.network.state_dict())
    adapters = []
    for folder, strength in folders:
        check_range(f"The strength of the adapter {folder}", strength, -MAX_STRENGTH, MAX_STRENGTH)
        info, tensors = read_adapter(folder)
        if info.base != digest:
            raise InputError(
                f"The adapter {folder} belongs to a {info.stage} with weights {info.base[:12]}, but this "
                f"{type(stage).__name__} has {digest[:12]}; use it with the folder that it was trained on."
            )
        expected = expected_shapes(stage.network, info.settings)
        if {name: tuple(tensor.shape) for name, tensor in tensors.items()} != expected:
            raise InputError(f"The tensors in {folder} do not fit its {CONFIG}; export the run again.")
        adapters.append(WeightedAdapter(info.settings, tensors, strength, hash_weights(tensors)))
    merge(stage.network, adapters)


def save_adapter(run: str | Path, folder: str | Path, half: bool = True, checkpoint: Path = LAST) -> Path:
    """Write the averaged adapter of a run as a bundle.

    Args:
        run: Folder of a run of ``fit --adapter``.
        folder: Where to write.
        half: Store in 16 bits every tensor whose values 16 bits can hold.
        checkpoint: Which of the run's checkpoints: the last, or the one that validated best.

    Raises:
        InputError: if the run holds no adapter.
    """
    info, tensors = read_adapter(run, checkpoint)
    return write_adapter(folder, info, tensors, half)


def write_adapter(
    folder: str | Path, info: AdapterInfo, tensors: Mapping[str, Tensor], half: bool = True
) -> Path:
    """Write an adapter as a bundle.

    Args:
        folder: Where to write.
        info: Its form and its base.
        tensors: Its tensors, named as `adapter_tensors` does.
        half: Store in 16 bits every tensor whose values 16 bits can hold.
    """
    stored = store(check_finite(dict(tensors), Path(folder)), half)
    return write_bundle(Path(folder), info.to_config(), stored, section="adapter")


def merge_stage(
    base: str | Path,
    folder: str | Path,
    adapters: Sequence[tuple[str | Path, float]],
    half: bool = False,
) -> Path:
    """Write a stage with adapters as an ordinary bundle.

    Args:
        base: Folder of the stage.
        folder: Where to write.
        adapters: Folder and strength of each adapter.
        half: Store in 16 bits, which rounds small changes of the weights away.

    Raises:
        InputError: if an adapter does not belong to the stage.
    """
    stage = load_stage(base)
    add_adapters(stage, adapters)
    return write_bundle(Path(folder), read_config(Path(base)), store(stage.network.state_dict(), half))


def difference_as_adapter(
    base: str | Path, trained: str | Path, folder: str | Path, settings: AdapterSettings
) -> Path:
    """Write what a full training changed in the layers of a stage as an adapter of low rank.

    Args:
        base: Folder of the stage that the training started from.
        trained: Folder of the result, of the same shape.
        folder: Where to write the adapter.
        settings: Its form, with ``method: lora``.

    Raises:
        InputError: if the two stages differ in shape.
    """
    stage, result = load_stage(base), load_stage(trained)
    weights = result.network.state_dict()
    state = stage.network.state_dict()
    if {n: t.shape for n, t in state.items()} != {n: t.shape for n, t in weights.items()}:
        raise InputError(f"{base} and {trained} have networks of another shape; give two trainings of one.")
    tensors = factorise(stage.network, weights, settings)
    info = AdapterInfo(settings, type(stage).__name__, hash_weights(state))
    return write_adapter(folder, info, tensors)
