from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lightning_n2m.cli.arguments import prepare_arguments
from lightning_n2m.errors import InputError
from tests.paths import ROOT

RECIPE = ROOT / "configs" / "paper" / "super_resolution.yaml"


def test_configs_come_first_in_their_own_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("a: 1\n")
    second.write_text("b: 1\n")
    given = ["fit", "--model.seed=3", "-c", str(first), "--trainer.max_steps", "4", f"--config={second}"]
    assert prepare_arguments(given) == [
        "fit", f"--config={first}", f"--config={second}", "--model.seed=3", "--trainer.max_steps", "4"
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["paper/super_resolution.yaml", "configs/paper/super_resolution.yaml"])
def test_recipes_are_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (argument,) = prepare_arguments(["fit", "-c", name])[1:]
    assert Path(argument.removeprefix("--config=")).read_bytes() == RECIPE.read_bytes()
    (tmp_path / "configs" / "paper").mkdir(parents=True)
    (tmp_path / "configs" / "paper" / "super_resolution.yaml").write_text("own: 1\n")
    if name.startswith("configs/"):
        assert prepare_arguments(["fit", "-c", name])[1:] == [f"--config={name}"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1", "broken.yaml is not valid YAML"), ("- 1", "holds no mapping"), ("", "holds no mapping")],
)
def test_a_broken_config_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        prepare_arguments(["fit", "-c", str(tmp_path / "broken.yaml")])


def test_a_missing_config_names_its_neighbours() -> None:
    with pytest.raises(InputError, match=r"cascade/spectrogram\.yaml, cascade/waveform\.yaml"):
        prepare_arguments(["predict", "-c", "configs/cascade/jazz.yaml"])
    with pytest.raises(InputError, match="has no value"):
        prepare_arguments(["predict", "-c"])


def test_regions_and_sections_are_free_text() -> None:
    """As YAML, 8:12 is a number in base 60."""
    arguments = [
        "predict",
        "--data.regenerate",
        "8:12",
        "--data.sections=0:30 a; 30:60 b",
        "--data.audio",
        "null",
    ]
    (_, config) = prepare_arguments(arguments)
    values = yaml.safe_load(config.removeprefix("--config="))["data"]["init_args"]
    assert values == {"regenerate": "8:12", "sections": "0:30 a; 30:60 b", "audio": "null"}
