"""Prepares a command line for LightningCLI: prompts as free text, recipes by name, configs before options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from lightning_n2m.errors import InputError
from lightning_n2m.package_files import find_recipe, recipe_names
from lightning_n2m.yaml_reader import read_yaml

# Options whose value is a text of the user: jsonargparse would read "Jazz: piano" and "null" as YAML.
FREE_TEXT = {
    f"--{group}.{prefix}{name}": (group, name)
    for group, name in (
        ("data", "prompt"),
        ("model", "negative"),
        ("data", "audio"),
        ("data", "regenerate"),
        ("data", "sections"),
    )
    for prefix in ("", "init_args.")
}
_CONFIG = ("-c", "--config")


def prepare_arguments(arguments: Sequence[str]) -> list[str]:
    """Pass free text on unchanged, find recipes, and move configs before all other options.

    A config replaces what stands before it. With the configs first, an option keeps its meaning wherever it
    stands. Free text becomes a config of its own, in which it is quoted, after all options.

    Args:
        arguments: The command and its options.

    Raises:
        InputError: if a config does not exist or is not valid YAML.
    """
    if not arguments:
        return []
    command, *rest = arguments
    configs: list[str] = []
    options: list[str] = []
    texts: dict[str, dict[str, dict[str, str]]] = {}
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option == "--adapter":
            if not equals and rest:
                value = rest.pop(0)
            options.append(f"--adapter={_adapter(value)}")
            continue
        if option not in FREE_TEXT and option not in _CONFIG:
            options.append(option + equals + value)
            continue
        if not equals:
            if not rest:
                raise InputError(f"{option} has no value; give one after it.")
            value = rest.pop(0)
        if option in _CONFIG:
            configs.append(f"--config={_config(value)}")
        else:
            group, name = FREE_TEXT[option]
            texts.setdefault(group, {"init_args": {}})["init_args"][name] = value
    if texts:
        quoted = yaml.safe_dump(texts, default_flow_style=True, width=float("inf"))
        options.append(f"--config={quoted.strip()}")
    return [command, *configs, *options]


def _config(value: str) -> str:
    """Path of a config; YAML that is given in the place of a path stays as it is."""
    if "\n" in value or value.lstrip().startswith("{"):
        return value
    path = find_recipe(value)
    if path is None:
        folder = Path(value).parent.name
        names = [f"{folder}/{name}.yaml" for name in recipe_names(folder)] if folder else []
        known = f"its neighbours are {', '.join(names)}" if names else "give a YAML file, or paper/NAME.yaml"
        raise InputError(f"The config {value} does not exist; {known}.")
    if not isinstance(read_yaml(path), dict):
        raise InputError(f"{path} holds no mapping of keys; give a config such as configs/cascade/*.yaml.")
    return str(path)


def _adapter(value: str) -> str:
    """Path of the settings of an adapter; YAML that is given in the place of a path stays as it is."""
    if value == "null" or "\n" in value or value.lstrip().startswith("{"):
        return value
    path = find_recipe(value)
    if path is None:
        known = ", ".join(f"configs/adapters/{name}.yaml" for name in recipe_names("adapters"))
        raise InputError(f"The adapter settings {value} do not exist; give a YAML file such as {known}.")
    return str(path)
