"""Names of earlier versions: old configs, command lines and checkpoints keep working.

`upgrade_config` renames class paths and keys of a config, `upgrade_arguments` those of a command line,
and `upgrade_checkpoint` the callbacks whose state a checkpoint holds. Nothing is imported or executed.
New files are always written with the new names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from lightning_n2m.errors import InputError

# Classes that configs can name, by their old path.
CLASS_PATHS = {
    f"lightning_n2m.data.evaluation_sets.{name}": f"lightning_n2m.evaluation.evaluation_sets.{name}"
    for name in ("AudioSetMusic", "MagnaTagATune", "MusicCaps", "Starter")
}

# Option groups at the top of a config.
GROUPS = {"listen": "samples", "curves": "train_metrics", "failure": "divergence"}

_SAMPLING = {
    "steps": "step_schedule",
    "total": "num_steps",
    "reverse": "reverse_schedule",
    "start": "start_time",
    "level": "conditioning_noise",
    "agreement": "consistency_iterations",
}

# The cache of a text encoder was counted in texts; each gets 64 KiB, the old default then being the new one.
_TEXT = {"cache": "cache_bytes"}

# Keys by the section that holds them; ``init_args`` does not count as a section.
KEYS: dict[str, dict[str, str]] = {
    "sampling": _SAMPLING,
    "generator": _SAMPLING,
    "refiner": _SAMPLING,
    "super_resolution": _SAMPLING,
    "network": {"picture": "refiner_channels"},
    "text": _TEXT,
    "encoder": _TEXT,
    "samples": {"every": "every_n_validations", "total": "num_steps", "scales": "guidance_scales"},
    "evaluation": {
        "alone": "refiner_clips",
        "heard": "cache",  # prose: allow
        "joint": "joint_models",
        "summary": "merge_into",
    },
}

# How the value of a renamed key changes, by its new name.
VALUES: dict[str, Callable[[int], int]] = {"cache_bytes": lambda texts: texts * 65_536}

# Callbacks whose state a checkpoint holds, by the class name that is their key.
CALLBACKS = {"Curves": "TrainMetrics", "FailureWatch": "DivergenceGuard", "Listen": "SampleLogger"}


def upgrade_config(config: Any) -> Any:
    """Rename old class paths and keys, at any depth.

    Args:
        config: A config as YAML gives it: mappings, lists and scalars.

    Returns:
        A new config; values other than class paths are left as they are.

    Raises:
        InputError: if a section holds a key under its old and its new name.
    """
    if not isinstance(config, Mapping):
        return config
    return _upgrade_section(config, None)


def upgrade_arguments(arguments: Sequence[str]) -> list[str]:
    """Rename the options of a command line: ``--listen.every=2`` becomes ``--samples.every_n_validations=2``.

    Args:
        arguments: The command and its options.
    """
    upgraded: list[str] = []
    converted = ""  # New name of the option before, if its value has to be converted.
    for argument in arguments:
        if converted and not argument.startswith("--"):
            upgraded.append(str(_convert(converted, argument)))
            converted = ""
            continue
        converted = ""
        match = re.fullmatch(r"(--)([\w.]+)(?:(=)(.*))?", argument, re.DOTALL)
        if match is None or ("." not in match[2] and match[2] not in (*GROUPS, "model", "data")):
            upgraded.append(CLASS_PATHS.get(argument, argument))
            continue
        names = _upgrade_names(match[2].split("."))
        value = "" if match[4] is None else CLASS_PATHS.get(match[4], match[4])
        if value.startswith("{"):
            value = _upgrade_value(value, names)
        if names[-1] != match[2].rpartition(".")[2]:
            value = str(_convert(names[-1], value))
            converted = "" if match[3] else names[-1]
        upgraded.append(match[1] + ".".join(names) + (match[3] or "") + value)
    return upgraded


def upgrade_checkpoint(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Rename the callbacks of a checkpoint, in place.

    Args:
        checkpoint: A checkpoint as Lightning wrote it.
    """
    states = checkpoint.get("callbacks")
    if isinstance(states, dict):
        checkpoint["callbacks"] = {CALLBACKS.get(name, name): state for name, state in states.items()}
    return checkpoint


def _convert(new_key: str, value: Any) -> Any:
    """The value of a renamed key: whole numbers are converted where `VALUES` says so."""
    if new_key in VALUES and re.fullmatch(r"\d+", str(value)):
        return VALUES[new_key](int(value))
    return value


def _upgrade_section(section: Mapping[Any, Any], parent: str | None) -> dict[Any, Any]:
    renamed = GROUPS if parent is None else KEYS.get(parent, {})
    upgraded: dict[Any, Any] = {}
    for key, value in section.items():
        new_key = renamed.get(key, key)
        if new_key in upgraded or (new_key != key and new_key in section):
            raise InputError(
                f"The config gives both '{key}' and '{new_key}', its new name; keep '{new_key}'."
            )
        child = parent if new_key == "init_args" else str(new_key)
        new_value = _convert(new_key, value) if new_key != key else value
        upgraded[new_key] = _upgrade(new_value, new_key, child)
    return upgraded


def _upgrade(value: Any, key: Any, section: str | None) -> Any:
    if isinstance(value, Mapping):
        return _upgrade_section(value, section)
    if isinstance(value, list):
        return [_upgrade(item, key, section) for item in value]
    if key == "class_path" and isinstance(value, str):
        return CLASS_PATHS.get(value, value)
    return value


def _upgrade_names(names: list[str]) -> list[str]:
    """Rename the parts of a dotted option."""
    upgraded: list[str] = []
    for name in names:
        sections = [part for part in upgraded if part != "init_args"]
        renamed = KEYS.get(sections[-1], {}) if sections else GROUPS
        upgraded.append(renamed.get(name, name))
    return upgraded


def _upgrade_value(value: str, names: Sequence[str]) -> str:
    """Rename the keys of a mapping that was given as the value of an option."""
    try:
        mapping = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    if not isinstance(mapping, Mapping):
        return value
    sections = [name for name in names if name != "init_args"]
    upgraded = _upgrade_section(mapping, sections[-1])
    if upgraded == mapping:
        return value
    return yaml.safe_dump(upgraded, default_flow_style=True, sort_keys=False).strip()
