"""The config of a bundle, which may come from a stranger: it names no code outside trusted packages.

`check_config` runs before any parser sees the config. It refuses every form in which jsonargparse would
import something: a ``class_path`` of another package, a dotted name or a YAML text in the place of a mapping,
``dict_kwargs``, and keys with dots.
"""

from __future__ import annotations

import importlib
import inspect
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError

PACKAGE = "lightning_n2m"
_ROOT = Path(__file__).resolve().parents[1]
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_WORD = re.compile(r"[A-Za-z0-9_+ -]{0,64}")  # a choice such as "dpm++2m": no dot, so no module
_MAX_LENGTH = 64  # of a list: levels of a network, validation times
_MAX_BLOCKS = 64  # of a level of a network

_trusted_packages: set[str] = set()


def trust_package(package: str) -> None:
    """Let bundles name classes of a package: the user answers for its code.

    Args:
        package: Name of a package or module as Python imports it.

    Raises:
        InputError: if it is not such a name.
    """
    if not all(part.isidentifier() for part in package.split(".")):
        raise InputError(f"--trust {package}: give the name of a Python package, for instance my_project.")
    _trusted_packages.add(package)


def check_config(config: Any, source: str) -> None:
    """Refuse a config that names code of packages that are not trusted, or numbers out of proportion.

    Args:
        config: The ``model`` section: mappings, lists and scalars.
        source: Name of its file, for messages.

    Raises:
        InputError: naming the key.
    """
    if not isinstance(config, Mapping) or "class_path" not in config:
        raise InputError(f"{source}: 'model' names no class_path; export the run again.")
    _check_mapping(config, f"{source}: model")


def _check_mapping(section: Mapping[Any, Any], place: str) -> None:
    _check_keys(section, place)
    free_text: set[str] = set()
    if "class_path" in section:
        free_text = _free_text_parameters(_load_class(section["class_path"], place))
        if set(section) - {"class_path", "init_args"}:
            raise InputError(f"{place} holds keys beside class_path and init_args; remove them.")
        section = section.get("init_args", {})
        if not isinstance(section, Mapping) or "class_path" in section:
            raise InputError(f"{place}.init_args is not a mapping of arguments; export the run again.")
        _check_keys(section, place)
    for key, value in section.items():
        _check_value(value, f"{place}.{key}", key in free_text)
        if (
            key == "blocks"
            and isinstance(value, list)
            and any(isinstance(n, int) and n > _MAX_BLOCKS for n in value)
        ):
            raise InputError(f"{place}.blocks is {value}; a level has at most {_MAX_BLOCKS} blocks.")


def _check_keys(section: Mapping[Any, Any], place: str) -> None:
    for key in section:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise InputError(f"{place} holds the key {str(key)[:80]!r}, which is not a name; remove it.")
    if "dict_kwargs" in section:
        raise InputError(f"{place} holds dict_kwargs, which a bundle may not; remove it.")


def _check_value(value: Any, place: str, is_free_text: bool = False) -> None:
    if isinstance(value, Mapping):
        _check_mapping(value, place)
    elif isinstance(value, list):
        if len(value) > _MAX_LENGTH:
            raise InputError(f"{place} has {len(value)} entries, more than {_MAX_LENGTH}; shorten it.")
        for number, item in enumerate(value):
            _check_value(item, f"{place}[{number}]")
    elif isinstance(value, str):
        # A path or a name of the model hub is a value of its class; anything else is one word.
        allowed = value.isprintable() and len(value) < 1024 if is_free_text else _WORD.fullmatch(value)
        if not allowed:
            raise InputError(f"{place} is {value[:80]!r}, which is not one of its values; correct it.")
    elif isinstance(value, float | int):
        if not math.isfinite(value) or abs(value) > 2**53:
            raise InputError(f"{place} is {str(value)[:40]}; give a finite number.")
    elif value is not None:
        raise InputError(
            f"{place} is of type {type(value).__name__}, which a config cannot hold; correct it."
        )


def _load_class(class_path: Any, place: str) -> type:
    """Import a class of a trusted package, and nothing else."""
    if not isinstance(class_path, str) or not all(part.isidentifier() for part in class_path.split(".")):
        raise InputError(f"{place}.class_path is {str(class_path)[:80]!r}; give MODULE.CLASS.")
    module_name, _, name = class_path.rpartition(".")
    if module_name.partition(".")[0] == PACKAGE:
        # An attribute of a module may be another module (storage.os): the file must exist in this package.
        file = _ROOT.joinpath(*module_name.split(".")[1:]).with_suffix(".py")
        is_allowed = file.is_file() and module_name != PACKAGE
    else:
        prefixes = [module_name[: match.start()] for match in re.finditer(r"\.|$", module_name)]
        is_allowed = not _trusted_packages.isdisjoint(prefixes)
        if not is_allowed:
            raise InputError(
                f"{place}.class_path names {class_path[:120]}, which is not a class of {PACKAGE}, so nothing "
                f"was loaded; add --trust {class_path.partition('.')[0][:60]} if you know that code."
            )
    found: Any = None
    if is_allowed:
        try:
            found = getattr(importlib.import_module(module_name), name, None)
        except ImportError as error:
            raise InputError(f"{place}.class_path names {class_path[:120]}: {error}.") from error
    if not inspect.isclass(found) or found.__module__ != module_name:
        raise InputError(
            f"{place}.class_path names {class_path[:120]}, but {PACKAGE} has no such class; export the run "
            "again with this version."
        )
    return found


def _free_text_parameters(cls: type) -> set[str]:
    """Parameters of a class that are plain strings, which jsonargparse takes as they are."""
    parameters = inspect.signature(cls).parameters
    return {
        name for name, parameter in parameters.items() if parameter.annotation in ("str", "str | None", str)
    }
