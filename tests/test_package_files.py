from __future__ import annotations

from pathlib import Path

import pytest

from lightning_n2m.package_files import find_recipe, find_stage_folder, recipe_names
from tests.paths import ROOT


def test_a_file_of_the_working_folder_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe("cascade/waveform.yaml").samefile(ROOT / "configs/cascade/waveform.yaml")  # type: ignore[union-attr]
    (tmp_path / "cascade").mkdir()
    (tmp_path / "cascade" / "waveform.yaml").touch()
    assert find_recipe("cascade/waveform.yaml") == Path("cascade/waveform.yaml")


@pytest.mark.parametrize(
    "name", ["../README.md", "configs/../pyproject.toml", "/nowhere.yaml", "paper/no.yaml"]
)
def test_nothing_outside_the_recipes_is_found(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_recipe(name) is None


def test_starter_weights_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_stage_folder("pretrained/mulan").samefile(ROOT / "pretrained/mulan")
    assert find_stage_folder("runs/mine") == Path("runs/mine")
    (tmp_path / "pretrained" / "mulan").mkdir(parents=True)
    assert find_stage_folder("pretrained/mulan") == Path("pretrained/mulan")


def test_recipes_are_listed() -> None:
    assert recipe_names("cascade") == ["spectrogram", "waveform"]
    assert recipe_names("nowhere") == []
