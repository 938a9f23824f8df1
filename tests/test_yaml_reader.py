from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from lightning_n2m.errors import InputError
from lightning_n2m.yaml_reader import MAX_BYTES, parse_yaml, read_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


def test_values_are_those_of_pyyaml() -> None:
    text = "a: &x {b: [1, 2.5, null, yes]}\nc: *x\nd: [*x, *x]\n"
    assert parse_yaml(text, "x.yaml") == yaml.safe_load(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "holds more than 50000 values"),
        ("a: &a [1, *a]", "inside its own anchor"),
        ("a: &a {b: {<<: *a}}", "inside its own anchor"),
        ("[" * 5000, "nested more than 40 levels"),
        ("{a: " * 5000, "nested more than 40 levels"),
        ("a: [1, 2\nb: 3", "line 2"),
        ("a: *nowhere", "undefined alias"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: 2001-99-99", "not valid YAML"),
        ("!!int ''", "not valid YAML"),
        ("? [1]\n: 2", "unhashable"),
        ("a: \x00", "not valid YAML"),
        ("1" * 5000, "not valid YAML"),
    ],
)
def test_other_text_is_refused_in_one_line_that_names_the_file(text: str, message: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError, match=message) as refusal:
        parse_yaml(text, "recipes/x.yaml")
    assert "recipes/x.yaml" in str(refusal.value) and "\n" not in str(refusal.value)
    assert time.monotonic() - began < 5


def test_only_small_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9\n")
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    for name, message in (("pipe", "not a regular file"), ("large", "bytes, more than"), ("latin", "UTF-8")):
        with pytest.raises(InputError, match=message):
            read_yaml(tmp_path / f"{name}.yaml")
    with pytest.raises(InputError, match="cannot be read"):
        read_yaml(tmp_path / "missing.yaml")
    assert read_yaml(tmp_path / "mark.yaml") == {"a": 1}
