"""JSON that would exhaust memory or the stack is refused."""

from __future__ import annotations

import pytest

from data_pipeline.scan.json_text import MAX_DEPTH, parse_json


def test_plain_values_are_read() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    deep = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert str(parse_json(deep)) == deep


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[" * 500 + "]" * 500, "nested"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested"),
        ("1" * 5000, "digits"),
        ('"' + "x" * (1 << 24) + '"', "longer"),
        (b"\xff", "UTF-8"),
        ("{", "."),
    ],
)
def test_bombs_are_refused_in_one_line(text: str | bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as error:
        parse_json(text)
    assert "\n" not in str(error.value)
