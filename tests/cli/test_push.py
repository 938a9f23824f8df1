"""Uploads to a local server with the endpoints of the hub, and the way back by `hf://`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_n2m.cli.main import main
from lightning_n2m.cli.push import files_to_upload, find_local_bundles, push
from lightning_n2m.errors import InputError
from lightning_n2m.remote.bundles import fetch_bundle
from lightning_n2m.stages.bundle import load_stage, save_stage
from tests.remote.servers import HubServer, running
from tests.stages.test_bundle import write_run


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    owner = HubServer(token="hf_secret")
    for name in ("HF_HUB_OFFLINE", "N2M_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # The local server stores large files by Git LFS only.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("N2M_CACHE", str(tmp_path / "cache"))
    with running(owner):
        monkeypatch.setenv("HF_ENDPOINT", owner.url)
        yield owner


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = save_stage(write_run(tmp_path / "run", seed=4), tmp_path / "stages/super_resolution")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n# A stage\n")
    return folder


def test_a_bundle_goes_to_the_hub_and_comes_back(
    hub: HubServer, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle / "secret.txt").write_text("private")
    (bundle / ".env").write_text("private")
    push([str(bundle), "hf://org/music"])
    files = hub.repositories["org/music"]["main"]
    assert files == {
        name: (bundle / name).read_bytes() for name in ("README.md", "config.yaml", "weights.safetensors")
    }
    assert hub.commits[0][0]["value"]["summary"] == "Upload super_resolution"  # type: ignore[index]
    out = capsys.readouterr().out
    assert out.startswith("3 files (") and f"at {hub.url}/org/music/tree/main." in out
    folder = fetch_bundle("hf://org/music")
    assert load_stage(folder).seed == 4


def test_a_folder_of_bundles_goes_into_a_folder_of_a_branch(
    hub: HubServer, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["org/all"] = {"main": {}, "v2": {}}
    (bundle.parent / "evaluation.json").write_text("[]")
    push([str(bundle.parent), "hf://org/all/sub@v2", "--message", "Second version"])
    assert sorted(hub.repositories["org/all"]["v2"]) == [
        "sub/evaluation.json",
        "sub/super_resolution/README.md",
        "sub/super_resolution/config.yaml",
        "sub/super_resolution/weights.safetensors",
    ]
    assert "has no front matter" in capsys.readouterr().out
    assert load_stage("hf://org/all/sub/super_resolution@v2").seed == 4


def test_what_cannot_be_uploaded_is_refused_in_one_line(
    hub: HubServer, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(arguments: list[str], message: str) -> None:
        with pytest.raises(InputError, match=message) as refusal:
            push(arguments)
        assert "\n" not in str(refusal.value)
        assert not hub.commits

    refused([str(bundle), "s3://bucket/x"], "is not on a hub")
    refused([str(bundle), "hf://name"], "give hf://ORG/NAME")
    refused([str(tmp_path / "none"), "hf://org/x"], "does not exist")
    refused([str(tmp_path / "run"), "hf://org/x"], "'n2m export' it first")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    refused([str(bundle), "hf://org/x"], "cannot be uploaded: .*401")
    monkeypatch.delenv("HF_TOKEN")
    refused([str(bundle), "hf://org/x"], "there is no token for the hub")
    monkeypatch.setenv("N2M_OFFLINE", "1")
    refused([str(bundle), "hf://org/x"], "N2M_OFFLINE")
    weights = bytearray((bundle / "weights.safetensors").read_bytes())
    weights[-4:] = b"\xff\xff\xff\xff"
    (bundle / "weights.safetensors").write_bytes(weights)
    refused([str(bundle), "hf://org/x"], "NaN or infinite")


def test_a_link_that_leads_out_of_the_folder_is_not_uploaded(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "private.md").write_text("private")
    (bundle / "notes.md").symlink_to(tmp_path / "private.md")
    with pytest.raises(InputError, match=r"notes\.md is a link that leads out"):
        files_to_upload(bundle, find_local_bundles(bundle))


def test_the_program_knows_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["push", "--help"])
    assert stop.value.code == 0
    assert "hf://ORG/NAME" in capsys.readouterr().out
