"""Reads YAML of unknown origin: size, depth and aliases are checked before any value is built."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import yaml

from lightning_n2m.errors import InputError

MAX_BYTES = 1 << 18
MAX_DEPTH = 40
MAX_NODES = 50_000  # aliases count with everything that they stand for

# What PyYAML raises for text that is not YAML, or for a scalar that does not fit its type (month 99).
_PARSE_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError)


def read_yaml(path: Path) -> Any:
    """Mappings, lists and scalars of a YAML file.

    Args:
        path: A regular file of at most 256 KiB; a link is followed.

    Raises:
        InputError: if the file cannot be read, is too large, or is not valid YAML.
    """
    return parse_yaml(read_text(path), str(path))


def read_text(path: Path) -> str:
    """Text of a small UTF-8 file; a byte order mark is dropped.

    Raises:
        InputError: if the path is not a regular file, is larger than 256 KiB, or is not UTF-8.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path} is not a regular file; give a YAML file.")
        if status.st_size > MAX_BYTES:
            raise InputError(f"{path} has {status.st_size} bytes, more than {MAX_BYTES}; give a YAML file.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise InputError(f"{path} cannot be read ({reason}); give a readable YAML file.") from error


def parse_yaml(text: str, source: str) -> Any:
    """Mappings, lists and scalars of a YAML text.

    Args:
        text: The YAML document.
        source: Name of its file, for messages.

    Raises:
        InputError: if it is not valid YAML, nested more than 40 levels deep, holds more than 50,000 values,
            or an alias contains itself.
    """
    try:
        _check_structure(text, source)
        return yaml.safe_load(text)
    except _PARSE_ERRORS as error:
        raise InputError(f"{source} is not valid YAML: {_reason(error)}; correct it.") from error


def _check_structure(text: str, source: str) -> None:
    """Count nodes and levels on the event stream, which needs no memory for aliases."""
    open_nodes: list[tuple[Any, int]] = [(None, 0)]  # anchor and number of nodes, outermost first
    complete: dict[Any, int] = {}  # nodes below each anchor
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            complete.pop(anchor, None)
            open_nodes.append((anchor, 1))
            if len(open_nodes) > MAX_DEPTH:
                raise InputError(f"{source} is nested more than {MAX_DEPTH} levels deep; it is not a config.")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, nodes = open_nodes.pop()
        elif isinstance(event, yaml.ScalarEvent):
            nodes = 1
        elif isinstance(event, yaml.AliasEvent):
            if any(anchor == open_anchor for open_anchor, _ in open_nodes):
                raise InputError(f"{source} holds the alias *{anchor} inside its own anchor; remove it.")
            nodes, anchor = complete.get(anchor, 1), None
        else:
            continue
        if anchor is not None:
            complete[anchor] = nodes
        parent, total = open_nodes[-1]
        open_nodes[-1] = (parent, total + nodes)
        if total + nodes > MAX_NODES:
            raise InputError(f"{source} holds more than {MAX_NODES} values; it is not a config.")


def _reason(error: Exception) -> str:
    """One line: what is wrong and in which line of the file."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error) or type(error).__name__
    line = f" in line {mark.line + 1}" if mark is not None else ""
    return " ".join(f"{problem}{line}".split())
