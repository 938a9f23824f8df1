"""Dataclasses out of untrusted JSON: type, range, length and pattern of every field are checked."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar

from lightning_n2m.errors import InputError

T = TypeVar("T")
Check = Callable[[Any], Any]
MAX_TEXT = 1 << 16  # Characters of one text.
MAX_ITEMS = 10_000  # Items of one list.
MAX_DEPTH = 16  # Levels of nested lists and objects in free-form values.


class FieldError(InputError):
    """Damaged or hostile JSON; the message is the reason, on one line and without control characters."""


def parse_json(data: bytes | str, limit: int) -> Any:
    """Parse JSON of at most ``limit`` bytes.

    Raises:
        FieldError: if it is longer, not JSON, or nested too deeply.
    """
    if len(data) > limit:
        raise FieldError(f"it has {len(data)} bytes, more than the limit of {limit}")
    try:
        return json.loads(data)
    except RecursionError as error:
        raise FieldError("its lists and objects are nested too deeply") from error
    except ValueError as error:  # also UnicodeDecodeError, and integers of thousands of digits
        raise FieldError(f"it is not JSON: {printable_reason(error)}") from error


def printable_reason(error: Exception) -> str:
    """What an exception says, on one line without control characters."""
    lines = str(error).splitlines()
    return "".join(c if c.isprintable() else " " for c in (lines[0] if lines else type(error).__name__))


def text(pattern: str | None = None, most: int = MAX_TEXT) -> Check:
    """Text, whole and by a regular expression; halves of UTF-16 characters, which no encoder takes, go."""
    compiled = re.compile(pattern, re.ASCII) if pattern else None

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise FieldError(f"is {_shown(value)}, but text is expected")
        if len(value) > most:
            raise FieldError(f"has {len(value)} characters, more than the limit of {most}")
        if compiled and not compiled.fullmatch(value):
            raise FieldError(f"is {_shown(value)}, which does not match {compiled.pattern}")
        return value if value.isascii() else value.encode("utf-8", "ignore").decode()

    return check


def choice(*values: str) -> Check:
    """One of several texts."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise FieldError(f"is {_shown(value)}, but one of {', '.join(filter(None, values))} is expected")
        return value

    return check


def integer(low: int, high: int) -> Check:
    """A whole number within inclusive bounds."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise FieldError(f"is {_shown(value)}, but a whole number from {low} to {high} is expected")
        return value

    return check


def number(low: float, high: float) -> Check:
    """A finite number within inclusive bounds."""

    def check(value: Any) -> float:
        # NaN fails every comparison.
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise FieldError(f"is {_shown(value)}, but a number from {low:g} to {high:g} is expected")
        return value

    return check


def sequence(item: Check, most: int = MAX_ITEMS) -> Check:
    """A list, as a tuple; each item is checked."""

    def check(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise FieldError(f"is {_shown(value)}, but a list is expected")
        if len(value) > most:
            raise FieldError(f"has {len(value)} items, more than the limit of {most}")
        return tuple(map(item, value))

    return check


def free_object(known: Mapping[str, Check] | None = None) -> Check:
    """A JSON object of any content, of limited depth; keys that are known are checked where they occur."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise FieldError(f"is {_shown(value)}, but an object is expected")
        if _is_deeper(value, MAX_DEPTH):
            raise FieldError(f"is nested more than {MAX_DEPTH} levels deep")
        for key, rule in (known or {}).items():
            if key in value:
                _checked(key, value[key], rule)
        return value

    return check


def optional(rule: Check) -> Check:
    """Null, or what another check accepts."""
    return lambda value: None if value is None else rule(value)


def build(kind: type[T], values: Any, rules: Mapping[str, Check]) -> T:
    """Build a dataclass from a parsed JSON object; fields that a newer version added are skipped.

    Args:
        kind: The dataclass.
        values: The parsed object.
        rules: The check of every field of the dataclass.

    Raises:
        FieldError: if it is not an object, a field is missing, or a check fails.
    """
    if not isinstance(values, dict):
        raise FieldError(f"it is {_shown(values)}, but an object is expected")
    checked = {}
    for name, required in _fields_of(kind):  # type: ignore[arg-type]
        if name in values:
            checked[name] = _checked(name, values[name], rules[name])
        elif required:
            raise FieldError(f"{name} is missing")
    return kind(**checked)


@cache
def _fields_of(kind: type) -> tuple[tuple[str, bool], ...]:
    """Name of each field of a dataclass, and whether it has no default."""
    missing = dataclasses.MISSING
    return tuple(
        (item.name, item.default is missing and item.default_factory is missing)
        for item in dataclasses.fields(kind)
    )


def _checked(name: str, value: Any, rule: Check) -> Any:
    try:
        return rule(value)
    except FieldError as error:
        raise FieldError(f"{name} {error}") from None


def _shown(value: Any) -> str:
    """A short form of any value, in printable ASCII."""
    if isinstance(value, list | dict):
        return f"a {'list' if isinstance(value, list) else 'JSON object'}"
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    whole = ascii(value[:60]) if isinstance(value, str) else str(value)
    return "null" if value is None else whole


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    if not levels:
        return True
    items = value.values() if isinstance(value, dict) else value
    return any(_is_deeper(item, levels - 1) for item in items)
