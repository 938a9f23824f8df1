"""No test patches an attribute that does not exist: such a test cannot fail."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.paths import ROOT


def lenient_patches(source: str) -> list[int]:
    """Lines that can set an attribute which the patched object lacks.

    These are ``monkeypatch.setattr(..., raising=False)``, ``patch(..., create=True)``, and a plain assignment
    of a function to an attribute of another object.
    """
    lines = []
    for node in ast.walk(ast.parse(source)):
        is_environment = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "delenv"
        if isinstance(node, ast.Call) and not is_environment:
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if (keyword.arg == "raising" and value is False) or (
                    keyword.arg == "create" and value is True
                ):
                    lines.append(node.lineno)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Lambda):
            for target in node.targets:
                is_own = isinstance(target, ast.Attribute) and getattr(target.value, "id", "") == "self"
                if isinstance(target, ast.Attribute) and not is_own:
                    lines.append(node.lineno)
    return lines


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("monkeypatch.setattr(stage, 'log', f, raising=False)", [1]),
        ("monkeypatch.delattr(stage, 'log', raising=False)", [1]),
        ("mock.patch('a.b', create=True)", [1]),
        ("x = 1\nstage._log_by_time = lambda a: a", [2]),
        ("monkeypatch.setattr(stage, 'log', f)", []),
        ("self.f = lambda: 1\nf = lambda: 2", []),
    ],
)
def test_lenient_patches_are_recognised(source: str, lines: list[int]) -> None:
    assert lenient_patches(source) == lines


def test_no_test_patches_a_missing_attribute() -> None:
    lenient = {
        str(path.relative_to(ROOT)): lines
        for path in sorted((ROOT / "tests").rglob("*.py"))
        if (lines := lenient_patches(path.read_text(encoding="utf-8"))) and path != Path(__file__)
    }
    assert lenient == {}, "use monkeypatch.setattr without raising=False: it refuses unknown attributes"
