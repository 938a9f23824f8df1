"""A config of a stranger: refused before anything is imported."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from lightning_n2m.errors import InputError
from lightning_n2m.stages import bundle_config
from lightning_n2m.stages.bundle_config import check_config, trust_package
from tests.paths import ROOT

BUNDLES = sorted((ROOT / "pretrained").glob("*/config.yaml"))


def pretrained(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "pretrained" / name / "config.yaml").read_text())["model"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("path", BUNDLES, ids=lambda path: path.parent.name)
def test_the_starter_bundles_pass(path: Path) -> None:
    check_config(yaml.safe_load(path.read_text())["model"], str(path))


@pytest.fixture
def foreign_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that fails the test when it is imported."""
    (tmp_path / "foreign_code").mkdir()
    (tmp_path / "foreign_code" / "__init__.py").write_text("raise SystemExit('imported')\n")
    (tmp_path / "foreign_code" / "model.py").write_text("class Network: pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return "foreign_code.model.Network"


def _set(*path: str | int) -> Callable[[dict[str, Any], Any], None]:
    def assign(config: dict[str, Any], value: Any) -> None:
        section: Any = config
        for key in path[:-1]:
            section = section[key]
        section[path[-1]] = value

    return assign


PLACES = {
    "top": ("class_path",),
    "network": ("init_args", "network", "class_path"),
    "schedule": ("init_args", "objective", "init_args", "schedule", "class_path"),
    "unknown key": ("init_args", "unknown"),
    "settings": ("init_args", "sampling", "method"),
    "nested settings": ("init_args", "sampling", "guidance", "clip"),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "form",
    [
        "{}",
        {"class_path": "{}"},
        [{"class_path": "{}"}],
        [[{"a": {"class_path": "{}"}}]],
        "{{class_path: {}}}",
    ],
    ids=["name", "mapping", "list", "nested list", "text"],
)
def test_code_elsewhere_is_refused_in_every_form_and_place(
    place: str, form: Any, foreign_module: str
) -> None:
    def fill(value: Any) -> Any:
        if isinstance(value, str):
            return value.format(foreign_module)
        return {k: fill(v) for k, v in value.items()} if isinstance(value, dict) else [fill(v) for v in value]

    config = copy.deepcopy(pretrained("waveform_generator"))
    _set(*PLACES[place])(config, fill(form))
    with pytest.raises(InputError, match=r"b/config\.yaml: model"):
        check_config(config, "b/config.yaml")
    assert "foreign_code" not in sys.modules


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config.update(dict_kwargs={"a": 1}),
        lambda config: config["init_args"].update(dict_kwargs={"a": 1}),
        lambda config: config["init_args"].update({"network.class_path": "os.system"}),
        lambda config: config["init_args"].update({"class_path": "os.system"}),
        lambda config: config["init_args"].update({"__path__": "x"}),
        lambda config: config.update(init_args="os.system"),
        lambda config: config.update(init_args=["os.system"]),
        lambda config: config.update(class_path=["os.system"]),
        lambda config: config["init_args"]["text"]["init_args"].update(model="a\nb"),
        lambda config: config["init_args"].update(scale=float("nan")),
        lambda config: config["init_args"].update(seed=10**30),
        lambda config: config["init_args"]["network"]["init_args"].update(strides=[1] * 1000),
        lambda config: config["init_args"]["network"]["init_args"].update(blocks=[10**6, 1, 1, 1]),
    ],
)
def test_other_ways_to_code_or_to_memory_are_refused(change: Callable[[dict[str, Any]], None]) -> None:
    config = copy.deepcopy(pretrained("waveform_generator"))
    change(config)
    with pytest.raises(InputError):
        check_config(config, "b/config.yaml")


@pytest.mark.parametrize(
    "name",
    [
        "lightning_n2m.storage.os.system",
        "lightning_n2m.stages.base.torch",
        "lightning_n2m.cli.main.main",
        "lightning_n2m.stages.bundle_config.Path",
        "lightning_n2m.stages.base.Nothing",
        "lightning_n2m.nothing.Stage",
        "lightning_n2m_evil.Stage",
        "TextEncoder",
        "",
        "lightning_n2m/../evil.Stage",
    ],
)
def test_only_classes_that_this_package_defines_are_taken(name: str) -> None:
    with pytest.raises(InputError, match="class_path"):
        check_config({"class_path": name}, "b/config.yaml")


def test_a_package_that_the_user_names_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_network.py").write_text("class Stage:\n    def __init__(self, size: int = 1): ...\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(bundle_config, "_trusted_packages", set())
    config = {"class_path": "my_network.Stage", "init_args": {"size": 2}}
    with pytest.raises(InputError, match="add --trust my_network"):
        check_config(config, "b/config.yaml")
    trust_package("my_network")
    check_config(config, "b/config.yaml")
    with pytest.raises(InputError, match="name of a Python package"):
        trust_package("my-network/x")
