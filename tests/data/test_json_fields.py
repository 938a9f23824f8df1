"""Untrusted JSON: what does not fit is refused in one printable line, whatever it is."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.data.json_fields import (
    FieldError,
    build,
    choice,
    free_object,
    integer,
    number,
    optional,
    parse_json,
    sequence,
    text,
)


@dataclass(frozen=True)
class Thing:
    name: str
    count: int = 0


RULES = {"name": text("[a-z]{1,8}"), "count": integer(0, 10)}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("rule", "accepted", "refused"),
    [
        (text("[a-z]+"), ["a", "abc"], ["", "A", "a\n", "\na", "é", 3, None, ["a"]]),
        (text(most=3), ["", "abc"], ["abcd"]),
        (integer(1, 5), [1, 5], [0, 6, 1.0, True, "1", None, 10**400]),
        (number(0, 1), [0, 1, 0.5], [-0.1, 1.1, float("nan"), float("inf"), True, "0", None, 10**400]),
        (choice("a", "b"), ["a", "b"], ["c", "", None, [], {}]),
        (sequence(text()), [[], ["a", "b"]], ["ab", {"a": 1}, [1], [["a"]], None]),
        (sequence(text(), most=2), [["a", "b"]], [["a", "b", "c"]]),
        (free_object({"share": number(0, 1)}), [{}, {"x": [1]}, {"share": 0.5}], [{"share": 2}, [], "", 1]),
        (optional(integer(1, 1)), [None, 1], [2]),
    ],
)
def test_each_check_accepts_its_values_only(rule, accepted, refused):
    for value in accepted:
        rule(value)
    for value in refused:
        with pytest.raises(FieldError):
            rule(value)


@given(values=JSON)
def test_any_json_is_built_or_refused_in_one_printable_line(values):
    message, thing = "", None
    try:
        thing = build(Thing, values, RULES)
    except FieldError as error:
        message = str(error)
    assert message.isprintable()
    assert len(message) < 500
    assert thing is None or (thing.name, thing.count) == (values["name"], values.get("count", 0))


def test_a_missing_field_is_named_and_an_unknown_one_is_skipped():
    with pytest.raises(FieldError, match="name is missing"):
        build(Thing, {"count": 1}, RULES)
    assert build(Thing, {"name": "a", "mood": "sunny"}, RULES) == Thing("a")


def test_halves_of_characters_are_removed():
    assert text()(json.loads('"a\\ud800b"')) == "ab"
    assert text()(json.loads('"\\ud83c\\udfb5"')) == "🎵"


@pytest.mark.parametrize(
    "data",
    [b"[" * 100_000, b'{"a":' * 50_000, b"1" * 10_000, b"\xff\xfe", b"", b"nul", b'"' + b"x" * 2000 + b'"'],
)
def test_what_cannot_be_parsed_is_refused(data):
    with pytest.raises(FieldError):
        parse_json(data, limit=max(1000, len(data) if data[:1] in b"[{1" else 1000))


def test_nesting_that_a_parser_takes_and_a_writer_does_not_is_refused():
    for depth, fits in ((15, True), (17, False), (900, False)):
        value = parse_json('{"a":' * depth + "1" + "}" * depth, limit=10_000)
        if fits:
            free_object()(value)
        else:
            with pytest.raises(FieldError, match="levels deep"):
                free_object()(value)
