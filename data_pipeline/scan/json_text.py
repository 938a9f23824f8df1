"""JSON from strangers: bounded in size and nesting, so that no file exhausts memory or the stack."""

from __future__ import annotations

import json
from typing import Any

MAX_DEPTH = 20  # Levels of nesting: metadata has three or four.
MAX_BYTES = 1 << 24  # Bytes of one value: a line of a table, or a sidecar.


def parse_json(text: str | bytes, max_bytes: int = MAX_BYTES) -> Any:
    """Parse one JSON value.

    Args:
        text: The value; bytes are UTF-8, with or without a byte order mark.
        max_bytes: Length above which it is refused.

    Raises:
        ValueError: if it is not JSON, not UTF-8, too long or too deeply nested. The message is one line.
    """
    if len(text) > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    try:
        decoded = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(decoded)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    except json.JSONDecodeError as error:
        raise ValueError(error.msg) from error
    except RecursionError as error:
        raise ValueError(f"nested more than {MAX_DEPTH} levels") from error
    except ValueError as error:  # Python refuses integers of more than 4,300 digits.
        raise ValueError("a number has too many digits") from error
    check_depth(value)
    return value


def check_depth(value: object) -> None:
    """Refuse a value whose lists and objects are nested deeper than `MAX_DEPTH`.

    Raises:
        ValueError: if they are.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(child for child in item.values() if isinstance(child, dict | list))
            elif isinstance(item, list):
                inner.extend(child for child in item if isinstance(child, dict | list))
        if not inner:
            return
        level = inner
    raise ValueError(f"nested more than {MAX_DEPTH} levels")
