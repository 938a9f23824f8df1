"""Mutated inputs of every reader; `make fuzz` tries twenty times as many."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_n2m.errors import InputError
from tests.integration import fuzzing
from tests.integration.fuzz_readers import all_readers
from tests.integration.fuzzing import Reader, mutate, run

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000"))


@pytest.mark.slow
def test_no_mutated_input_does_what_no_input_may(tmp_path: Path) -> None:
    tried, findings = run(all_readers(tmp_path / "seeds"), INPUTS, 0, tmp_path / "inputs")
    assert sum(tried.values()) >= 0.95 * INPUTS
    assert len(tried) >= 20
    assert not findings, "\n".join(map(str, findings))


def _refuse(path: Path) -> None:
    raise InputError(f"{path} is damaged; give another one.")


def _outside(path: Path) -> None:
    (path.parents[2] / "outside").write_text("x")


def _program(path: Path) -> None:
    subprocess.run([sys.executable, "-c", "pass"], check=True)


def _canary(path: Path) -> None:
    sys.path.insert(0, str(path.parents[2]))
    try:
        __import__("fuzz_canary")
    finally:
        sys.path.remove(str(path.parents[2]))


def _too_slow(path: Path) -> None:
    time.sleep(10)


def _large(path: Path) -> None:
    bytearray(b"x") * 300_000_000


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (_refuse, None),
        (lambda path: 2, None),
        (lambda path: 1, "exit code 1"),
        (lambda path: [][0], "IndexError"),
        (_outside, "outside"),
        (_program, "subprocess.Popen"),
        (_canary, "module that the file named"),
        (_too_slow, "more than 3 s"),
        (_large, "GB of memory"),
        (lambda path: print("Traceback (most recent call last)", file=sys.stderr), "traceback"),
    ],
)
def test_the_harness_finds_what_no_input_may_do(read, problem, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(fuzzing, "SECONDS", 3)
    if read is _too_slow:
        monkeypatch.setattr(fuzzing, "PATIENCE", 1)
    monkeypatch.setattr(fuzzing, "MEMORY", 200_000_000)
    (tmp_path / "fuzz_canary.py").write_text("")
    (tmp_path / "seed").write_text("a: 1\n")
    _, findings = run([Reader("reader", tmp_path / "seed", (), read)], 1, 0, tmp_path / "inputs")
    assert [problem in finding.problem for finding in findings] == ([True] if problem else [])


def test_mutations_are_seeded_and_change_nearly_everything() -> None:
    import random

    data = b'{"key": "value", "list": [1, 2, 3], "path": "a/b.flac"}\n' * 3
    mutants = [mutate(data, random.Random(seed)) for seed in range(200)]
    assert mutants == [mutate(data, random.Random(seed)) for seed in range(200)]
    assert len(set(mutants)) > 150 and sum(mutant != data for mutant in mutants) > 190
