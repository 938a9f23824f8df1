"""`fit --adapter` trains an adapter alone, exactly resumable; export, merge and predict use it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

from lightning_n2m.cli.main import main
from lightning_n2m.errors import InputError
from lightning_n2m.stages.adapters import add_adapters, read_adapter
from lightning_n2m.stages.bundle import load_stage, read_config
from lightning_n2m.stages.bundle_weights import hash_weights
from lightning_n2m.stages.stage_run import AdapterRun, StageRun
from tests.integration.conftest import ROOT, fit
from tests.integration.curves import scalars
from tests.integration.ranks import launch
from tests.integration.test_ddp import DDP, SHARDED, options

STAGE = "waveform_cascader"
RANK = ["--adapter.rank=2", "--adapter.alpha=8", "--model.optimisation.warmup_steps=1"]


def adapter_options(base: Path, method: str = "lora") -> list[str]:
    return [f"--adapter=configs/adapters/{method}.yaml", f"--weights={base}", *RANK]


def content(run: Path) -> dict[str, torch.Tensor]:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    return {
        f"{kind} {name}": tensor
        for kind in ("state_dict", "current_model_state")
        for name, tensor in checkpoint[kind].items()
    }


@pytest.fixture(scope="module")
def base(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle to adapt."""
    folder = tmp_path_factory.mktemp("base")
    fit(STAGE, shards, folder / "run", "--trainer.max_steps=2")
    main(["export", str(folder / "run"), str(folder / "bundle")])
    return folder / "bundle"


@pytest.fixture(scope="module")
def run(base: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of six steps that adapts it by DoRA."""
    folder = tmp_path_factory.mktemp("adapter") / "run"
    fit(STAGE, shards, folder, *adapter_options(base, "dora"))
    return folder


def test_the_checkpoint_holds_the_adapter_alone(run: Path, base: Path) -> None:
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert all(".adapter." in name for name in content(run))
    assert checkpoint["adapter"]["base"] == hash_weights(load_stage(base).network.state_dict())
    trained = len(checkpoint["state_dict"])
    (optimizer,) = checkpoint["optimizer_states"]
    assert len(optimizer["state"]) == len(optimizer["param_groups"][0]["params"]) == trained
    assert (run / "checkpoints" / "last.ckpt").stat().st_size < 0.8 * (
        base / "weights.safetensors"
    ).stat().st_size * 4


def test_the_network_is_that_of_the_base_whatever_the_recipe_says(
    base: Path, shards: Path, tmp_path: Path
) -> None:
    other = ("--model.network.resample_kernel=kernel_size", "--model.network.equal_phases=false")
    fit(STAGE, shards, tmp_path / "run", *adapter_options(base), *other, "--trainer.max_steps=1")
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["model"]["init_args"]["network"] == read_config(base)["init_args"]["network"]
    assert config["trainer"]["max_steps"] == 1
    main(["export", str(tmp_path / "run"), str(tmp_path / "adapter")])
    add_adapters(load_stage(base), [(tmp_path / "adapter", 1.0)])


def test_an_adapter_of_a_distilled_stage_is_refused(
    base: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = f"-c=configs/starter/{STAGE}_few.yaml"
    with pytest.raises(SystemExit) as stopped:
        fit(STAGE, shards, tmp_path / "run", few, *adapter_options(base))
    assert stopped.value.code == 2
    assert "--adapter trains no distilled stage" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_resumed_run_repeats_the_uninterrupted_one_bit_for_bit(
    run: Path, base: Path, shards: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    fit(STAGE, shards, again, *adapter_options(base, "dora"), "--trainer.max_steps=4")
    main(["fit", "-c", str(again / "config.yaml"), "--ckpt_path=last", "--trainer.max_steps=6"])
    expected, resumed = content(run), content(again)
    assert expected.keys() == resumed.keys()
    assert all(torch.equal(resumed[name], tensor) for name, tensor in expected.items())
    assert scalars(again, "train/loss") == scalars(run, "train/loss")
    assert scalars(again, "val/loss") == scalars(run, "val/loss")


def test_validation_of_an_adapter_uses_its_base(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    last = max(
        scalars(run, "val/loss").items()
        if isinstance(scalars(run, "val/loss"), dict)
        else scalars(run, "val/loss")
    )
    main(["validate", "-c", str(run / "config.yaml"), f"--ckpt_path={run}/checkpoints/last.ckpt"])
    assert f"{last[1]:.4f}"[:6] in capsys.readouterr().out


def test_export_merge_and_predict(
    run: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["export", str(run), str(tmp_path / "adapter")])
    assert "--model.refiner.adapters" in capsys.readouterr().out
    info, tensors = read_adapter(tmp_path / "adapter")
    assert info.settings.method == "dora" and info.settings.rank == 2 and info.stage == "WaveformCascader"
    assert tensors.keys() == read_adapter(run)[1].keys()
    main(["export", str(base), str(tmp_path / "merged"), "--merge", f"{tmp_path}/adapter:0.5"])
    merged, stage = load_stage(tmp_path / "merged"), load_stage(base)
    before = {name: tensor.clone() for name, tensor in stage.network.state_dict().items()}
    add_adapters(stage, [(tmp_path / "adapter", 0.5)])
    state = stage.network.state_dict()
    assert all(torch.equal(merged.network.state_dict()[name], tensor) for name, tensor in state.items())
    assert any(not torch.equal(before[name], tensor) for name, tensor in state.items())


def test_refusals(run: Path, base: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds an adapter, not a stage"):
        load_stage(run)
    stage = load_stage(base)
    with torch.no_grad():
        stage.network.exit.bias.add_(1)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"belongs to a WaveformCascader with weights [0-9a-f]{12}, but"):
        add_adapters(stage, [(run, 1.0)])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--adapter=configs/adapters/lora.yaml"], "--adapter needs --weights"),
        (
            ["--adapter=configs/adapters/none.yaml", "--weights=BASE"],
            "do not exist; give a YAML file such as",
        ),
        (["--adapter.layers=[nothing]", "--weights=BASE"], "'nothing', which matches no layer"),
        (["--adapter.rank=0", "--weights=BASE"], "adapter.rank is 0"),
        (["--adapter.rankk=1", "--weights=BASE"], "rankk"),
    ],
)
def test_wrong_options_are_refused_in_a_line(
    more: list[str],
    message: str,
    base: Path,
    shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as exit_:
        fit(STAGE, shards, tmp_path / "run", *(option.replace("BASE", str(base)) for option in more))
    error = capsys.readouterr().err.strip().splitlines()
    assert exit_.value.code == 2 and message in error[-1]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_an_adapter_run_resumes_with_its_own_settings_only(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "-c", str(run / "config.yaml"), "--ckpt_path=last", "--adapter.alpha=1"])
    assert exit_.value.code == 2
    assert "alpha 8.0" in capsys.readouterr().err


@pytest.mark.slow
def test_two_gloo_processes_equal_one(base: Path, shards: Path, tmp_path: Path) -> None:
    more, resumed = adapter_options(base), ["--ckpt_path=last"]
    main(options(STAGE, shards, tmp_path / "one", 1, 4, *more))
    commands = [
        options(STAGE, shards, tmp_path / "ddp", 2, 2, *DDP, *more),
        options(STAGE, shards, tmp_path / "sharded", 2, 2, *SHARDED, *more, "--trainer.max_steps=2"),
        options(STAGE, shards, tmp_path / "sharded", 2, 2, *DDP, *more, *resumed, "--trainer.max_steps=4"),
        options(STAGE, shards, tmp_path / "sharded", 2, 2, *SHARDED, *more, *resumed),
    ]
    launch(2, commands, ROOT)
    expected = content(tmp_path / "one")
    start = content(tmp_path / "one")
    for strategy in ("ddp", "sharded"):
        result = content(tmp_path / strategy)
        assert result.keys() == expected.keys()
        for name, tensor in expected.items():
            if name.endswith(".up"):  # zero at the start
                assert (result[name] - tensor).norm() < 0.02 * start[name].norm(), (strategy, name)


def test_a_cascade_adds_adapters_to_its_stages(run: Path, base: Path) -> None:
    adapted = StageRun(str(base), adapters=[AdapterRun(str(run), 0.5)]).load()
    expected = load_stage(base)
    add_adapters(expected, [(run, 0.5)])
    for name, tensor in expected.network.state_dict().items():
        assert torch.equal(adapted.network.state_dict()[name], tensor)
    assert adapted.sampling == expected.sampling


def test_predict_has_an_option_for_adapters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(
            [
                "predict",
                "-c",
                "configs/cascade/waveform.yaml",
                "--model.refiner.adapters=[{folder: a, strength: 0.5}, {folder: b}]",
                "--print_config",
            ]
        )
    printed = yaml.safe_load(capsys.readouterr().out)
    adapters = printed["model"]["init_args"]["refiner"]["adapters"]
    assert adapters == [{"folder": "a", "strength": 0.5}, {"folder": "b", "strength": 1.0}]
