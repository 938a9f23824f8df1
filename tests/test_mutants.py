"""The mutations of `make mutants` still apply to the code, each to exactly one place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.paths import ROOT
from tools.mutants import CODE, MUTATIONS, RECIPES, Mutation, apply


def test_there_are_all_mutations_of_the_audit() -> None:
    assert len(CODE) == 5 and len(RECIPES) == 20
    assert len({mutation.name for mutation in MUTATIONS}) == 25


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_mutation_applies(mutation: Mutation, tmp_path: Path) -> None:
    (tmp_path / mutation.path).parent.mkdir(parents=True)
    shutil.copy(ROOT / mutation.path, tmp_path / mutation.path)
    before = apply(mutation, tmp_path)
    assert (tmp_path / mutation.path).read_text(encoding="utf-8") != before
    assert all((ROOT / test).is_file() for test in mutation.tests)
