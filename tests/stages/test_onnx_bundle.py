"""Stages whose network is in ONNX: what they load, and what is refused."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from lightning_n2m.cli.export import export
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.onnx_network import OnnxNetwork
from lightning_n2m.stages.adapters import add_adapters
from lightning_n2m.stages.bundle import begin_with, load_stage, save_stage
from lightning_n2m.stages.onnx_bundle import load_for_sampling, save_onnx
from lightning_n2m.stages.onnx_file import check_onnx
from lightning_n2m.stages.stage_run import AdapterRun, StageRun
from tests.stages.test_bundle import write_run


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("stage") / "run", seed=1)


@pytest.fixture(scope="module")
def exported(original: Path) -> Path:
    return save_onnx(original, original.parent / "onnx")


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    """A folder that may be damaged."""
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def refusal(function: Callable[..., Any], *arguments: Any) -> str:
    with pytest.raises(InputError) as error:
        function(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def edit(folder: Path, change: Callable[[Any], object]) -> str:
    """Change the graph of an exported network, and return the message with which it is refused."""
    path = folder / "network.onnx"
    model = onnx.load_model(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return refusal(load_for_sampling, folder)


def test_it_computes_what_the_run_computes_with_its_edited_settings(copied: Path, original: Path) -> None:
    config = copied / "config.yaml"
    config.write_text(config.read_text().replace("seed: 1", "seed: 1\n    sampling: {num_steps: 7}"))
    stage, trained = load_for_sampling(copied), load_stage(original)
    assert isinstance(stage.network, OnnxNetwork)
    assert stage.sampling.num_steps == 7 and config.read_text().count("format: onnx") == 1
    x, t = torch.randn(2, 1, 70), torch.rand(2)
    conditions = Conditions(stacked=torch.randn(2, 1, 70), level=torch.rand(2))
    torch.testing.assert_close(stage.network(x, t, conditions), trained.network(x, t, conditions))


def test_two_exports_are_the_same_bytes_and_other_weights_have_another_hash(
    original: Path, exported: Path, tmp_path: Path
) -> None:
    again = save_onnx(original, tmp_path / "again")
    other = save_onnx(write_run(tmp_path / "run", seed=2), tmp_path / "other")
    for name in ("config.yaml", "network.onnx"):
        assert (again / name).read_bytes() == (exported / name).read_bytes()
    first, second = (load_for_sampling(folder).network.state_dict() for folder in (exported, other))
    assert not torch.equal(first["sha256"], second["sha256"])


def test_what_needs_weights_is_refused(exported: Path, original: Path, tmp_path: Path) -> None:
    assert "can only be sampled from" in refusal(load_stage, exported)
    assert "can only be sampled from" in refusal(begin_with, load_stage(original), exported)
    assert "can only be sampled from" in refusal(save_stage, exported, tmp_path / "out")
    stage = load_for_sampling(exported)
    assert "takes no adapter" in refusal(add_adapters, stage, [(tmp_path, 1.0)])
    run = StageRun(str(exported), adapters=[AdapterRun(str(tmp_path))])
    assert "takes no adapter" in refusal(run.load)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--merge", "adapter"], "--format onnx does not go with --merge"),
        (["--card"], "leave out --format onnx"),
    ],
)
def test_options_that_need_weights_are_refused(
    original: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    assert message in refusal(export, [str(original), str(tmp_path / "o"), "--format", "onnx", *options])


def test_a_folder_with_weights_is_not_overwritten_and_weights_replace_a_network(
    original: Path, copied: Path, tmp_path: Path
) -> None:
    bundle = save_stage(original, tmp_path / "bundle")
    assert "give another folder" in refusal(save_onnx, original, bundle)
    save_stage(original, copied)
    assert sorted(path.name for path in copied.iterdir()) == ["config.yaml", "weights.safetensors"]
    assert not isinstance(load_for_sampling(copied).network, OnnxNetwork)


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_package_is_named_with_the_remedy(
    original: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    for function, arguments in ((save_onnx, (original, tmp_path / "o")), (load_for_sampling, (exported,))):
        message = refusal(function, *arguments)
        assert f"the package {package}, " in message and "pip install 'lightning_n2m[onnx]'" in message
    assert not (tmp_path / "o").exists()


def test_a_truncated_network_is_refused(copied: Path) -> None:
    path = copied / "network.onnx"
    whole = path.read_bytes()
    for length in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:length])
        refusal(load_for_sampling, copied)
    path.unlink()
    assert "holds no network.onnx" in refusal(load_for_sampling, copied)


@pytest.mark.parametrize("place", ["../secret.bin", "/etc/hostname", "beside.bin"])
def test_weights_in_another_file_are_not_read(copied: Path, place: str) -> None:
    """Neither outside the folder nor in it, and not in the attribute of a node either."""

    def refer(tensor: Any) -> None:
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=place)

    (copied / "beside.bin").write_bytes(bytes(1000))
    (copied.parent / "secret.bin").write_bytes(bytes(1000))
    whole = (copied / "network.onnx").read_bytes()
    assert "weights in another file" in edit(copied, lambda model: refer(model.graph.initializer[0]))
    (copied / "network.onnx").write_bytes(whole)
    constants = "Constant"
    assert "weights in another file" in edit(
        copied,
        lambda model: refer(next(n for n in model.graph.node if n.op_type == constants).attribute[0].t),
    )


def test_operators_that_no_network_of_a_stage_has_are_refused(copied: Path) -> None:
    whole = (copied / "network.onnx").read_bytes()
    for change, message in (
        (lambda model: model.opset_import.add(domain="evil.library", version=1), "another library (['evil"),
        (
            lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"),
            "of 'com.microsoft'",
        ),
        (lambda model: setattr(model.graph.node[0], "op_type", "Loop"), "the operator 'Loop'"),
        (lambda model: model.functions.add(name="f", domain="x"), "another library"),
    ):
        (copied / "network.onnx").write_bytes(whole)
        assert message in edit(copied, change)


def test_a_network_that_takes_more_memory_than_there_is_ends_in_one_line(copied: Path) -> None:
    """One operator that makes a tensor of 4 TB of 24 bytes."""

    def enlarge(model: Any) -> None:
        size = onnx.numpy_helper.from_array(torch.tensor([1 << 40]).numpy(), "size")
        model.graph.initializer.append(size)
        output = model.graph.node[-1].output[0]
        model.graph.node[-1].output[0] = "inner"
        model.graph.node.append(onnx.helper.make_node("ConstantOfShape", ["size"], ["large"]))
        model.graph.node.append(onnx.helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0))
        model.graph.node.append(onnx.helper.make_node("Add", ["inner", "sum"], [output]))

    path = copied / "network.onnx"
    model = onnx.load_model(path)
    enlarge(model)
    path.write_bytes(model.SerializeToString())
    stage = load_for_sampling(copied)
    x = torch.randn(1, 1, 32)
    message = refusal(stage.network, x, torch.rand(1), Conditions(stacked=x))
    assert "cannot be evaluated" in message


def test_files_of_two_stages_or_two_exports_are_refused(copied: Path, tmp_path: Path) -> None:
    config = (copied / "config.yaml").read_text()
    (copied / "config.yaml").write_text(config.replace("# bundle ", "# bundle 0")[:-1])
    assert "two exports" in refusal(load_for_sampling, copied)
    for old, new in (
        ("base_channels: 8", "base_channels: 80000"),
        ("stacked_channels: 1", "strides: [4, 4]"),
    ):
        (copied / "config.yaml").write_text(config.replace(old, new))
        refusal(load_for_sampling, copied)


def test_a_file_without_a_config_passes_the_check_of_its_operators_only(exported: Path) -> None:
    model = onnx.load_model(exported / "network.onnx")
    del model.metadata_props[:]
    assert check_onnx(model.SerializeToString(), exported) == ""
