"""Derived forms are built beside their master shards."""

from __future__ import annotations

import pytest

from data_pipeline.__main__ import main
from tests.data_pipeline.conftest import tree


def test_deriving_again_does_only_what_is_missing(derived):
    before = tree(derived)
    times = {path: path.stat().st_mtime_ns for path in derived.glob("3200/*.tar")}
    (derived / "3200/audio-000001.tar").unlink()
    assert main(["shard", "--output", str(derived), "--derive", "3200", "--workers", "1"]) == 0
    assert tree(derived) == before
    kept = derived / "3200/audio-000000.tar"
    assert kept.stat().st_mtime_ns == times[kept]


@pytest.mark.parametrize("form", ["24000", "0", "x", "-5", "3200.5"])
def test_a_wrong_name_of_a_form_is_refused(derived, form, capsys):
    assert main(["shard", "--output", str(derived), f"--derive={form}"]) == 2
    assert "'mel'" in capsys.readouterr().err
