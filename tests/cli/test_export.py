from __future__ import annotations

from pathlib import Path

import pytest

from lightning_n2m.cli.export import export
from lightning_n2m.errors import InputError
from lightning_n2m.stages.bundle import load_stage
from tests.stages.test_bundle import write_run


def test_a_run_becomes_a_bundle_with_the_next_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, bundle = write_run(tmp_path / "run", seed=4), tmp_path / "bundle"
    export([str(run), str(bundle)])
    assert load_stage(bundle).seed == 4
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{bundle} holds the averaged weights and the config of {run}."
    assert f"--model.super_resolution.folder {bundle}" in second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required"),
        (["a", "b", "--wrong"], "--wrong"),
        (["no", "b"], "config.yaml"),
    ],
)
def test_wrong_arguments_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        export(arguments)


def test_help_names_both_folders(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        export(["--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert "RUN_FOLDER" in out and "OUT_FOLDER" in out and "--best" in out
