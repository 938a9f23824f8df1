"""Every place that names a stage folder takes a URL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_n2m import from_pretrained
from lightning_n2m.cli.export import export
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.loading import load_joint
from lightning_n2m.stages.bundle import begin_with, load_stage, read_config, save_stage
from lightning_n2m.stages.stage_config import build_stage
from lightning_n2m.stages.stage_run import StageRun
from tests.paths import ROOT
from tests.remote.servers import FileServer, HubServer, running
from tests.stages.test_bundle import write_run

STEPS = {"num_steps": 2}


def folder_files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("config.yaml", "weights.safetensors")}


@pytest.fixture
def stage(tmp_path: Path) -> Path:
    return save_stage(write_run(tmp_path / "run", seed=4), tmp_path / "bundle")


@pytest.fixture
def url(stage: Path) -> Iterator[str]:
    owner = FileServer({f"/{name}": content for name, content in folder_files(stage).items()})
    with running(owner):
        yield owner.url


def test_a_stage_of_a_cascade_and_the_weights_of_a_training(url: str, stage: Path) -> None:
    assert StageRun(url, num_steps=3).load().sampling.num_steps == 3
    fresh = build_stage(read_config(stage))
    begin_with(fresh, url)
    expected = load_stage(stage).state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in fresh.state_dict().items())


def test_export_copies_a_bundle_from_a_url(url: str, stage: Path, tmp_path: Path) -> None:
    export([url, str(tmp_path / "copy")])
    expected, copied = load_stage(stage).state_dict(), load_stage(tmp_path / "copy").state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in copied.items())


def test_a_joint_model_at_a_url() -> None:
    files = folder_files(ROOT / "pretrained/mulan")
    owner = FileServer({f"/mulan/{name}": content for name, content in files.items()})
    with running(owner):
        assert load_joint(f"{owner.url}/mulan").name == load_joint(str(ROOT / "pretrained/mulan")).name


def test_a_whole_cascade_from_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("spectrogram_generator", "spectrogram_vocoder")
    files = {
        f"all/{name}/{file}": content
        for name in names
        for file, content in folder_files(ROOT / "pretrained" / name).items()
    }
    hub = HubServer({"org/music": {"v1": files}})
    settings = {"device": "cpu", "generator": STEPS, "refiner": STEPS}
    with running(hub):
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        model = from_pretrained("hf://org/music/all@v1", **settings)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"hf://org/music@v1 holds no stages"):
            from_pretrained("hf://org/music@v1")
    local = from_pretrained("spectrogram", super_resolution=None, **settings)  # type: ignore[arg-type]
    assert model.sample_rate == 16_000
    for ours, theirs in zip(model.cascade.stages, local.cascade.stages, strict=True):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(a, theirs.state_dict()[name]) for name, a in ours.state_dict().items())
    monkeypatch.setenv("N2M_OFFLINE", "1")
    again = from_pretrained("hf://org/music/all@v1", **settings)  # type: ignore[arg-type]
    assert again.sample_rate == 16_000
