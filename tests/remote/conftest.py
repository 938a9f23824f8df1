from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lightning_n2m.remote import download
from lightning_n2m.stages.bundle import write_bundle
from tests.remote.servers import FileServer, HubServer, running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, connections allowed, and no waiting between attempts."""
    for name in ("HF_HUB_OFFLINE", "N2M_OFFLINE", "HF_ENDPOINT", "HF_TOKEN", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("N2M_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(download, "WAIT", 0.0)
    return tmp_path / "cache"


def bundle_files(folder: Path, seed: int = 0) -> dict[str, bytes]:
    """Config and weights as `export` writes them; 50 kB, so that a transfer has several parts."""
    torch.manual_seed(seed)
    config = {"class_path": "lightning_n2m.stages.cascaders.SuperResolution", "init_args": {"seed": seed}}
    write_bundle(folder, config, {"a": torch.randn(5000), "b.weight": torch.randn(100, 150).half()})
    return {name: (folder / name).read_bytes() for name in ("config.yaml", "weights.safetensors")}


@pytest.fixture
def files(tmp_path: Path) -> dict[str, bytes]:
    return bundle_files(tmp_path / "exported")


@pytest.fixture
def server(files: dict[str, bytes]) -> Iterator[FileServer]:
    owner = FileServer({f"/stage/{name}": content for name, content in files.items()})
    with running(owner):
        yield owner


@pytest.fixture
def hub(files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    owner = HubServer({"org/music": {"main": {f"stage/{name}": data for name, data in files.items()}}})
    with running(owner):
        monkeypatch.setenv("HF_ENDPOINT", owner.url)
        yield owner
