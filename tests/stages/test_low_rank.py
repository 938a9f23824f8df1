"""Stages stored as a difference of low rank from a base beside them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lightning_n2m.cli.export import export
from lightning_n2m.cli.push import push
from lightning_n2m.errors import InputError
from lightning_n2m.stages.bundle import load_stage, save_stage
from lightning_n2m.stages.bundle_weights import WEIGHTS, hash_weights
from lightning_n2m.stages.low_rank import factorise, restore
from tests.stages.test_bundle import refusal_of, write_run


def weights(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return {"conv.weight": torch.randn(24, 10, 3), "conv.bias": torch.randn(24), "small": torch.randn(2, 3)}


def test_a_difference_of_the_rank_is_restored_and_the_rest_is_exact() -> None:
    base, changed = weights(0), weights(1)
    change = torch.randn(24, 2) @ torch.randn(2, 30)
    changed["conv.weight"] = base["conv.weight"] + change.view(24, 10, 3)
    stored = factorise(base, changed, rank=2)
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        "conv.weight.up": (24, 2),
        "conv.weight.down": (2, 30),
        "conv.bias": (24,),
        "small": (2, 3),
    }
    restored = restore(base, stored)
    torch.testing.assert_close(restored["conv.weight"], changed["conv.weight"], rtol=1e-5, atol=1e-5)
    assert torch.equal(restored["conv.bias"], changed["conv.bias"])
    assert torch.equal(restored["small"], changed["small"])


def test_the_error_is_that_of_the_singular_values_left_out() -> None:
    base, changed = weights(0), weights(1)
    restored = restore(base, factorise(base, changed, rank=5))
    values = torch.linalg.svdvals((changed["conv.weight"] - base["conv.weight"]).flatten(1).double())
    error = (restored["conv.weight"] - changed["conv.weight"]).double().norm()
    torch.testing.assert_close(error, values[5:].norm(), rtol=1e-4, atol=0)


def test_equal_tensors_take_no_space() -> None:
    assert factorise(weights(0), weights(0), rank=4) == {}
    assert restore(weights(0), {}).keys() == weights(0).keys()


def relative_bundle(folder: Path, rank: int = 2) -> tuple[Path, Path]:
    """A base, and beside it a bundle of other weights that is stored relative to it."""
    base = save_stage(write_run(folder / "base_run", seed=1), folder / "base")
    run = write_run(folder / "run", seed=2)
    return base, save_stage(run, folder / "bundle", base=base, rank=rank)


def test_a_bundle_loads_with_its_base_from_any_place(tmp_path: Path) -> None:
    base, bundle = relative_bundle(tmp_path / "here")
    expected = load_stage(tmp_path / "here/run").network.state_dict()
    stage = load_stage(bundle)
    assert stage.seed == 2
    start, loaded = load_stage(base).network.state_dict(), stage.network.state_dict()
    for name, tensor in loaded.items():
        distance = (tensor - expected[name]).norm()
        assert distance <= (start[name] - expected[name]).norm() + 1e-3 * expected[name].norm(), name
    assert (bundle / WEIGHTS).stat().st_size < (base / WEIGHTS).stat().st_size
    for folder in ("base", "bundle"):
        shutil.copytree(tmp_path / "here" / folder, tmp_path / "there" / folder)
    moved = load_stage(tmp_path / "there/bundle").network.state_dict()
    assert hash_weights(moved) == hash_weights(loaded)


def test_export_of_such_a_bundle_stores_whole_weights(tmp_path: Path) -> None:
    _, bundle = relative_bundle(tmp_path)
    export([str(bundle), str(tmp_path / "elsewhere/whole")])
    whole, loaded = (load_stage(path).network.state_dict() for path in (tmp_path / "elsewhere/whole", bundle))
    for name, tensor in loaded.items():
        torch.testing.assert_close(whole[name], tensor, rtol=1e-3, atol=1e-4)


def test_the_command_writes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, bundle = relative_bundle(tmp_path)
    export([str(tmp_path / "run"), str(tmp_path / "other"), "--base", str(base), "--rank", "2"])
    assert f"as a difference from {base}" in capsys.readouterr().out
    assert hash_weights(load_file(tmp_path / "other" / WEIGHTS)) == hash_weights(load_file(bundle / WEIGHTS))


def test_a_missing_or_other_base_is_refused(tmp_path: Path) -> None:
    base, bundle = relative_bundle(tmp_path)
    save_stage(tmp_path / "run", base)
    assert "holds other weights than those" in refusal_of(bundle)
    shutil.rmtree(base)
    assert "difference from base, which is missing beside it" in refusal_of(bundle)


@pytest.mark.parametrize(
    "section",
    [
        {"folder": "../base", "hash": "0" * 64},
        {"folder": "/tmp/base", "hash": "0" * 64},
        {"folder": "..", "hash": "0" * 64},
        {"folder": "base", "hash": "0"},
        {"folder": "base"},
        {"folder": ["base"], "hash": "0" * 64},
        {"folder": "base", "hash": "0" * 64, "more": 1},
        "base",
        None,
    ],
)
def test_a_section_that_is_not_valid_is_refused(tmp_path: Path, section: object) -> None:
    _, bundle = relative_bundle(tmp_path)
    tensors = load_file(bundle / WEIGHTS)
    document = yaml.safe_load((bundle / "config.yaml").read_text()) | {"base": section}
    (bundle / "config.yaml").write_text(yaml.safe_dump(document))
    save_file(tensors, bundle / WEIGHTS)
    assert "of its config is not valid" in refusal_of(bundle)


@pytest.mark.parametrize("change", ["rank", "rows", "name", "missing", "axes"])
def test_factors_that_do_not_fit_are_refused(tmp_path: Path, change: str) -> None:
    _, bundle = relative_bundle(tmp_path)
    tensors = load_file(bundle / WEIGHTS)
    name = next(name for name in tensors if name.endswith(".up"))
    factor = tensors.pop(name)
    if change == "rank":
        tensors[name] = torch.zeros(len(factor), factor.shape[1] + 1)
    elif change == "rows":
        tensors[name] = torch.zeros(len(factor) + 1, factor.shape[1])
    elif change == "name":
        tensors["no.such.layer.up"] = factor
    elif change == "axes":
        tensors[name] = factor[None].contiguous()
    save_file(tensors, bundle / WEIGHTS)
    assert "does not fit the base" in refusal_of(bundle)


def test_a_base_must_be_a_whole_bundle_beside_the_output(tmp_path: Path) -> None:
    base, bundle = relative_bundle(tmp_path)
    run = tmp_path / "run"
    with pytest.raises(InputError, match="is not beside"):
        save_stage(run, tmp_path / "deeper/bundle", base=base)
    with pytest.raises(InputError, match="is not beside"):
        save_stage(run, base, base=base)
    with pytest.raises(InputError, match="is not a bundle with whole weights"):
        save_stage(run, tmp_path / "chain", base=bundle)
    with pytest.raises(InputError, match="is not a bundle with whole weights"):
        save_stage(run, tmp_path / "other", base=tmp_path / "base_run")
    with pytest.raises(InputError, match="--rank"):
        save_stage(run, tmp_path / "other", base=base, rank=0)
    assert not (tmp_path / "other").exists()


def test_a_bundle_is_not_pushed_without_its_base(tmp_path: Path) -> None:
    _, bundle = relative_bundle(tmp_path)
    with pytest.raises(InputError, match="stored as a difference"):
        push([str(bundle), "hf://org/name"])
