"""A folder of an adapter, which may come from a stranger, and its base."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lightning_n2m.errors import InputError
from lightning_n2m.networks.adapters import AdapterSettings, expected_shapes
from lightning_n2m.stages.adapters import (
    AdapterInfo,
    add_adapters,
    difference_as_adapter,
    merge_stage,
    read_adapter,
    train_adapter,
    write_adapter,
)
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import load_stage, write_bundle
from lightning_n2m.stages.bundle_weights import WEIGHTS, hash_weights
from lightning_n2m.stages.stage_config import build_stage
from tests.stages.test_bundle import CONFIG

SETTINGS = AdapterSettings("dora", rank=2, alpha=4.0, layers=["blocks_*"])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A bundle of a small stage."""
    torch.manual_seed(0)
    return write_bundle(tmp_path / "base", CONFIG, build_stage(CONFIG).network.state_dict())


def make_adapter(base: Path, folder: Path, seed: int = 0, settings: AdapterSettings = SETTINGS) -> Path:
    """An adapter with random tensors."""
    stage = load_stage(base)
    torch.manual_seed(seed)
    shapes = expected_shapes(stage.network, settings)
    tensors = {name: torch.randn(shape) / 10 for name, shape in shapes.items()}
    info = AdapterInfo(settings, type(stage).__name__, hash_weights(stage.network.state_dict()))
    return write_adapter(folder, info, tensors)


def weights(stage: Stage) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in stage.network.state_dict().items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_folder_holds_the_adapter_its_settings_and_the_hash_of_its_base(base: Path, tmp_path: Path) -> None:
    folder = make_adapter(base, tmp_path / "adapter")
    info, tensors = read_adapter(folder)
    assert info.settings == SETTINGS
    assert info.base == hash_weights(load_file(base / WEIGHTS))
    assert all(name.split(".")[-1] in ("down", "up", "magnitude") for name in tensors)
    section = yaml.safe_load((folder / "config.yaml").read_text())
    assert section.keys() == {"adapter"}


def test_strength_zero_is_the_base_and_order_has_no_effect(base: Path, tmp_path: Path) -> None:
    first, second = (make_adapter(base, tmp_path / str(seed), seed) for seed in (1, 2))
    unchanged, forward, backward = load_stage(base), load_stage(base), load_stage(base)
    before = weights(unchanged)
    add_adapters(unchanged, [(first, 0.0), (second, 0)])
    assert equal(weights(unchanged), before)
    add_adapters(forward, [(first, 0.5), (second, 0.8)])
    add_adapters(backward, [(second, 0.8), (first, 0.5)])
    assert equal(weights(forward), weights(backward))
    assert not equal(weights(forward), before)


def test_a_merged_bundle_is_the_sum_in_every_bit(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    stage = load_stage(base)
    add_adapters(stage, [(adapter, 0.7)])
    merged = load_stage(merge_stage(base, tmp_path / "merged", [(adapter, 0.7)]))
    assert equal(weights(merged), weights(stage))
    # The merged stage has another hash: an adapter of the base does not fit it.
    with pytest.raises(InputError, match="use it with the folder that it was trained on"):
        add_adapters(merged, [(adapter, 0.7)])


def test_another_base_is_refused_in_a_line(base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter")
    other = load_stage(base)
    with torch.no_grad():
        other.network.exit.bias[0] += 1e-6  # type: ignore[index]
    with pytest.raises(InputError) as refusal:
        add_adapters(other, [(adapter, 1.0)])
    assert "belongs to a SuperResolution with weights" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_adapter_is_not_a_stage(base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an adapter, not a stage; give the folder of its base"):
        load_stage(make_adapter(base, tmp_path / "adapter"))
    with pytest.raises(InputError, match="holds no adapter"):
        read_adapter(base)
    with pytest.raises(InputError, match="does not exist; train one with 'fit --adapter'"):
        read_adapter(tmp_path / "nothing")


@pytest.mark.parametrize("strength", [4.1, -5.0, float("nan"), float("inf")])
def test_a_strength_out_of_range_is_refused(strength: float, base: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="The strength of the adapter"):
        add_adapters(load_stage(base), [(make_adapter(base, tmp_path / "adapter"), strength)])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("stage", "os.system"),
        ("base", "0" * 63),
        ("method", "other"),
        ("method", ["lora"]),
        ("rank", 0),
        ("rank", 10**9),
        ("rank", True),
        ("alpha", "4"),
        ("alpha", float("inf")),
        ("layers", "blocks_*"),
        ("layers", []),
        ("layers", ["*"] * 65),
        ("layers", ["a" * 201]),
        ("layers", ["(a+)+$"]),
        ("seed", 1.5),
        ("class_path", "os.system"),
    ],
)
def test_settings_of_a_stranger_are_checked(key: str, value: Any, base: Path, tmp_path: Path) -> None:
    folder = make_adapter(base, tmp_path / "adapter")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["adapter"][key] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match="adapter"):
        read_adapter(folder)


def test_tensors_that_do_not_fit_the_settings_are_refused(base: Path, tmp_path: Path) -> None:
    folder = make_adapter(base, tmp_path / "adapter")
    whole = load_file(folder / WEIGHTS)
    name = next(iter(whole))
    for damaged in (
        {n: t for n, t in whole.items() if n != name},
        {**whole, "os.system": torch.zeros(1)},
        {**whole, name: torch.zeros(3, 3)},
        {**whole, name: torch.full_like(whole[name], float("nan"))},
    ):
        save_file(damaged, folder / WEIGHTS)
        with pytest.raises(InputError, match=r"do not fit its config.yaml|NaN or infinite"):
            add_adapters(load_stage(base), [(folder, 1.0)])
    content = (folder / WEIGHTS).read_bytes()
    for damage in (content[:100], b"", b"\xff" * 64):
        (folder / WEIGHTS).write_bytes(damage)
        with pytest.raises(InputError, match="is damaged"):
            add_adapters(load_stage(base), [(folder, 1.0)])


def test_the_hash_depends_on_names_shapes_and_values() -> None:
    tensor = torch.arange(6.0)
    digests = {
        hash_weights(state)
        for state in (
            {"a": tensor},
            {"b": tensor},
            {"a": tensor.view(2, 3)},
            {"a": tensor + 1e-6},
            {"a": tensor, "b": tensor},
        )
    }
    assert len(digests) == 5
    assert hash_weights({"a": tensor.half()}) == hash_weights({"a": tensor})
    transposed = torch.arange(6.0).view(2, 3).mT
    assert hash_weights({"a": transposed}) == hash_weights({"a": transposed.contiguous()})


def test_the_difference_of_two_trainings_becomes_an_adapter(base: Path, tmp_path: Path) -> None:
    settings = AdapterSettings(rank=2, alpha=2.0, layers=["blocks_*"])
    adapter = make_adapter(base, tmp_path / "adapter", settings=settings)
    trained = merge_stage(base, tmp_path / "trained", [(adapter, 1.0)])
    folder = difference_as_adapter(base, trained, tmp_path / "difference", settings)
    stage = load_stage(base)
    add_adapters(stage, [(folder, 1.0)])
    expected = weights(load_stage(trained))
    for name, tensor in weights(stage).items():
        # The adapter is stored in 16 bits.
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-3)


def test_a_config_that_extends_the_base_or_trains_by_muon_is_refused(base: Path) -> None:
    wider = build_stage(CONFIG)
    # A stage whose weights are not those of the folder, as where `begin_with` adds inputs.
    stage = load_stage(base)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lightning_n2m.stages.adapters.begin_with", lambda *_: None)
        with torch.no_grad():
            next(wider.network.parameters()).add_(1)
        with pytest.raises(InputError, match="builds another network than that of"):
            train_adapter(wider, base, SETTINGS)
    stage.optimisation = dataclasses.replace(stage.optimisation, optimizer="muon")
    with pytest.raises(InputError, match="optimizer is muon, which adapters do not train with"):
        train_adapter(stage, base, SETTINGS)
