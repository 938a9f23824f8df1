from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from lightning_n2m.conditioning.numbers import MusicNumbers, to_batch
from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.number_embedding import NUMBERS
from lightning_n2m.stages.bundle import (
    begin_with,
    load_stage,
    read_bundle,
    read_config,
    save_stage,
    write_bundle,
)
from lightning_n2m.stages.bundle_weights import WEIGHTS
from lightning_n2m.stages.stage_config import build_stage
from tests.paths import ROOT
from tests.stages.common import without_numbers

CONFIG: dict[str, Any] = {
    "class_path": "lightning_n2m.stages.cascaders.SuperResolution",
    "init_args": {
        "network": {
            "class_path": "lightning_n2m.networks.unet.UNet1d",
            "init_args": {
                "channels": 1,
                "base_channels": 8,
                "multipliers": [1, 1],
                "strides": [4, 4],
                "blocks": [1, 1],
                "self_attention": [False, False],
                "cross_attention": [False, False],
                "stacked_channels": 1,
                "augmentation_level": True,
                "groups": 4,
            },
        },
        "objective": {
            "class_path": "lightning_n2m.diffusion.objective.Objective",
            "init_args": {"schedule": {"class_path": "lightning_n2m.diffusion.schedule.CosineSchedule"}},
        },
    },
}


def write_run(folder: Path, seed: int, **settings: Any) -> Path:
    """A run folder as `fit` leaves it, with random weights."""
    config = {**CONFIG, "init_args": {**CONFIG["init_args"], "seed": seed, **settings}}
    torch.manual_seed(seed)
    state = build_stage(config).state_dict()
    (folder / "checkpoints").mkdir(parents=True)
    torch.save({"state_dict": state}, folder / "checkpoints" / "last.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": config, "trainer": {"max_steps": 1}}))
    return folder


def refusal_of(folder: Path) -> str:
    """Message of the refusal; empty where the bundle loads."""
    try:
        load_stage(folder)
    except InputError as error:
        return str(error)
    return ""


def test_an_export_loads_as_the_run_does(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", seed=3)
    bundle = save_stage(run, tmp_path / "bundle")
    exported, trained = load_stage(bundle), load_stage(run)
    assert exported.seed == trained.seed == 3
    for name, tensor in trained.network.state_dict().items():
        torch.testing.assert_close(exported.network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_two_exports_of_one_run_are_the_same_bytes(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", seed=3)
    first, second = (save_stage(run, tmp_path / name) for name in "ab")
    for name in ("config.yaml", WEIGHTS):
        assert (first / name).read_bytes() == (second / name).read_bytes()


KILL = """
import os, signal, sys
from pathlib import Path
from lightning_n2m import storage
from lightning_n2m.stages.bundle import save_stage
left = int(sys.argv[3])
replace = Path.replace
def replace_or_die(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return replace(self, target)
Path.replace = replace_or_die
save_stage(sys.argv[1], sys.argv[2])
"""


def test_an_export_that_is_killed_leaves_one_run_whole(tmp_path: Path) -> None:
    """Killed before each rename in turn: the reader finds config and weights of one run."""
    old = write_run(tmp_path / "old", seed=1, sampling={"num_steps": 11})
    new = write_run(tmp_path / "new", seed=2, sampling={"num_steps": 22})
    seen = []
    for renames in range(3):
        bundle = save_stage(old, tmp_path / f"bundle{renames}")
        command = [sys.executable, "-c", KILL, str(new), str(bundle), str(renames)]
        code = subprocess.run(command, cwd=ROOT).returncode
        assert code == (-9 if renames < 2 else 0)
        stage = load_stage(bundle)
        source = load_stage({1: old, 2: new}[stage.seed])
        assert stage.sampling.num_steps == source.sampling.num_steps == 11 * stage.seed
        weight = stage.network.entry.weight
        torch.testing.assert_close(weight, source.network.entry.weight, atol=1e-3, rtol=1e-3)
        seen.append(stage.seed)
        save_stage(new, bundle)  # the next export removes what the killed one left
        assert sorted(path.name for path in bundle.iterdir()) == ["config.yaml", WEIGHTS]
    assert seen == [1, 2, 2]


def test_settings_that_a_user_edits_in_a_bundle_count(tmp_path: Path) -> None:
    bundle = save_stage(write_run(tmp_path / "run", seed=1, sampling={"num_steps": 11}), tmp_path / "bundle")
    path = bundle / "config.yaml"
    path.write_text(path.read_text().replace("num_steps: 11", "num_steps: 7"))
    assert load_stage(bundle).sampling.num_steps == 7


def test_a_reader_retries_while_another_process_exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = write_run(tmp_path / "old", seed=1)
    new = write_run(tmp_path / "new", seed=2)
    bundle, reads = save_stage(old, tmp_path / "bundle"), []
    from lightning_n2m.stages import bundle as module

    read = module.read_weights

    def read_after_an_export(*arguments: Any) -> Any:
        reads.append(1)
        if len(reads) == 1:
            monkeypatch.setattr(module, "read_weights", read)
            save_stage(new, bundle)
            monkeypatch.setattr(module, "read_weights", read_after_an_export)
        return read(*arguments)

    monkeypatch.setattr(module, "read_weights", read_after_an_export)
    config, weights = read_bundle(bundle, lambda config: build_stage(config).network)
    assert config["init_args"]["seed"] == 2 and len(reads) == 2
    torch.testing.assert_close(
        weights["entry.weight"], load_stage(new).network.entry.weight, atol=1e-3, rtol=1e-3
    )


def test_a_network_larger_than_its_weights_takes_no_memory(tmp_path: Path) -> None:
    bundle = save_stage(write_run(tmp_path / "run", seed=1), tmp_path / "bundle")
    path = bundle / "config.yaml"
    path.write_text(path.read_text().replace("base_channels: 8", "base_channels: 80000"))
    with pytest.raises(InputError, match=r"do not fit its config\.yaml"):
        load_stage(bundle)  # 80,000 channels would take terabytes


def test_a_bundle_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config\.yaml"):
        load_stage(tmp_path)


@pytest.mark.parametrize("text", ["", "model: 3", "- model", "model: {}", "weights: {}"])
def test_a_config_without_a_model_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(InputError, match=r"config\.yaml"):
        read_config(tmp_path)


def test_damage_of_either_file_is_refused_in_one_line(tmp_path: Path) -> None:
    bundle = save_stage(write_run(tmp_path / "run", seed=1), tmp_path / "bundle")
    copy = tmp_path / "copy"
    for name in ("config.yaml", WEIGHTS):
        whole = (bundle / name).read_bytes()
        for length in range(0, len(whole), max(1, len(whole) // 40)):
            shutil.copytree(bundle, copy, dirs_exist_ok=True)
            (copy / name).write_bytes(whole[:length])
            message = refusal_of(copy)
            assert "\n" not in message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sampling": {"conditioning_noise": 5.0}}, "conditioning_noise is 5"),
        ({"sampling": {"consistency_iterations": -1}}, "consistency_iterations is -1"),
        ({"sampling": {"gamma": 7.0}}, "gamma is 7"),
        ({"sampling": {"num_steps": 0}}, "num_steps is 0"),
        ({"sampling": {"start_time": -0.1}}, "start_time is -0.1"),
        ({"sampling": {"step_schedule": "nowhere"}}, "no step list 'nowhere'"),
        ({"sampling": {"step_schedule": "waveform_generator", "num_steps": 2}}, "at least 5 steps"),
        ({"sampling": {"guidance": {"clip": 2.0}}}, "clip is 2"),
        ({"sample_rate": -24000}, "sample_rate|low_rate"),
        ({"seconds": 1e9}, "seconds is 1e"),
        ({"scale": 0.0}, "scale is 0"),
        ({"emphasis": 1.5}, "emphasis is 1.5"),
        ({"augmentation": {"t_max": 3.0}}, "t_max is 3"),
        ({"low_rate": 0}, "low_rate is 0"),
        ({"optimisation": {"total_steps": 0}}, "total_steps is 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    config = {**CONFIG, "init_args": {**CONFIG["init_args"], **settings}}
    with torch.device("meta"), pytest.raises(InputError, match=message) as refusal:
        build_stage(config)
    assert "\n" not in str(refusal.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    bundle = save_stage(write_run(tmp_path / "run", seed=1), tmp_path / "bundle")
    weights = load_file(bundle / WEIGHTS)
    weights.pop("entry.weight")
    save_file(weights, bundle / WEIGHTS)
    with pytest.raises(InputError, match="do not fit"):
        load_stage(bundle)


def test_the_config_of_a_bundle_has_no_aliases(tmp_path: Path) -> None:
    shared = [1, 2]
    write_bundle(
        tmp_path / "b", {"class_path": "x", "init_args": {"a": shared, "b": shared}}, {"w": torch.ones(1)}
    )
    assert "&" not in (tmp_path / "b" / "config.yaml").read_text()


def test_a_training_starts_from_weights_with_smaller_kernels() -> None:
    """The recipe's strided layers have wider kernels than the network in ``pretrained/``."""
    config = yaml.safe_load((ROOT / "configs/starter/super_resolution.yaml").read_text(encoding="utf-8"))
    stage, earlier = build_stage(config["model"]), load_stage(ROOT / "pretrained/super_resolution")
    begin_with(stage, ROOT / "pretrained/super_resolution")
    for new, old in zip(stage.network.ups, earlier.network.ups, strict=True):
        before = new.padding[0] - old.padding[0]
        assert torch.equal(new.weight[..., before : before + old.weight.shape[-1]], old.weight)


@pytest.mark.parametrize("name", ["spectrogram_generator", "waveform_generator"])
def test_a_training_with_numbers_starts_bit_equal_to_the_weights_without(name: str, tmp_path: Path) -> None:
    folder = without_numbers(ROOT / "pretrained" / name, tmp_path / name)
    config, earlier = read_config(folder), load_stage(folder)
    config["init_args"]["network"]["init_args"]["numbers"] = list(NUMBERS)
    stage = build_stage(config)
    begin_with(stage, folder)
    stage.eval()
    x = torch.randn(1, stage.network.channels, 300, generator=torch.Generator().manual_seed(0))
    text, mask = torch.randn(1, 3, 384, generator=torch.Generator().manual_seed(1)), torch.ones(1, 3) > 0
    plain = Conditions(text, mask)
    numbers = stage.with_numbers(plain, to_batch([MusicNumbers(90.0, ("D", "minor"), 0.0)]), 300)
    with torch.no_grad():
        before, after = earlier.network(x, torch.ones(1), plain), stage.network(x, torch.ones(1), numbers)
    assert numbers.beat_phase is not None and torch.equal(before, after)
