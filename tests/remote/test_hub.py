"""``hf://`` by a local server with the hub's endpoints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_n2m.errors import InputError
from lightning_n2m.remote.bundles import fetch_bundle, find_bundles
from lightning_n2m.remote.hub import HubPlace
from tests.remote.conftest import bundle_files
from tests.remote.servers import FileServer, HubServer, bytes_sent, running


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("hf://org/name", HubPlace("org/name", "", None)),
        ("hf://org/name/", HubPlace("org/name", "", None)),
        ("hf://org/name.v2/a/b@refs/pr/1", HubPlace("org/name.v2", "a/b", "refs/pr/1")),
    ],
)
def test_places_are_parsed(url: str, place: HubPlace) -> None:
    assert HubPlace.parse(url) == place
    assert str(place) == url.rstrip("/")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_bundle_comes_from_the_hub_once(hub: HubServer, files: dict[str, bytes]) -> None:
    folder = fetch_bundle("hf://org/music/stage")
    assert content(folder) == files
    hub.requests.clear()
    assert fetch_bundle("hf://org/music/stage") == folder
    assert [request.path for request in hub.requests] == ["/api/models/org/music/revision/main?blobs=true"]


def test_a_revision_is_used_and_a_commit_is_not_requested_again(hub: HubServer, tmp_path: Path) -> None:
    old = bundle_files(tmp_path / "old", seed=5)
    hub.repositories["org/music"]["v/1"] = dict(old)
    commit = hub.commit("org/music", "v/1")
    hub.repositories["org/music"][commit] = dict(old)
    assert content(fetch_bundle("hf://org/music@v/1")) == old
    assert content(fetch_bundle(f"hf://org/music@{commit}")) == old
    hub.requests.clear()
    fetch_bundle(f"hf://org/music@{commit}")
    assert not hub.requests


@pytest.fixture
def content_server(hub: HubServer) -> Iterator[FileServer]:
    data = hub.repositories["org/music"]["main"]
    owner = FileServer({f"/{path}": content for path, content in data.items()})
    with running(owner):
        hub.cdn = owner.url
        yield owner


def test_the_token_is_for_the_hub_and_not_for_its_content_servers(
    hub: HubServer,
    content_server: FileServer,
    files: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub.token = "hf_secret"
    with pytest.raises(InputError, match=r"refuses access .* set HF_TOKEN"):
        fetch_bundle("hf://org/music/stage")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert content(fetch_bundle("hf://org/music/stage")) == files
    assert content_server.requests
    assert not any("authorization" in request.headers for request in content_server.requests)


def test_a_download_from_a_content_server_is_resumed(
    hub: HubServer, content_server: FileServer, files: dict[str, bytes]
) -> None:
    content_server.cut_after = 30_000
    assert content(fetch_bundle("hf://org/music/stage")) == files
    length = len(files["weights.safetensors"])
    assert bytes_sent(content_server, length) == length


@pytest.mark.parametrize("name", ["config.yaml", "weights.safetensors"])
def test_content_without_the_stated_hash_is_refused(
    hub: HubServer, name: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = hub._resolve

    def tampered(handler: object, repository: str, commit: str, path: str) -> None:
        if path.endswith(name):
            data = hub.repositories[repository]["main"][path]
            handler.respond(200, data[:-1] + bytes([data[-1] ^ 1]))  # type: ignore[attr-defined]
        else:
            resolve(handler, repository, commit, path)  # type: ignore[arg-type]

    monkeypatch.setattr(hub, "_resolve", tampered)
    with pytest.raises(InputError, match=f"{name}: the content does not have the hash"):
        fetch_bundle("hf://org/music/stage")
    assert not list((cache / "bundles").glob("*"))


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([], "does not answer as a model hub"),
        ({"sha": "../..", "siblings": []}, "does not answer as a model hub"),
        ({"sha": "0" * 40, "siblings": [{"name": 1}]}, "does not answer as a model hub"),
        ({"sha": "0" * 40, "siblings": [{"rfilename": "stage/config.yaml"}]}, "states no hash"),
        (
            {
                "sha": "0" * 40,
                "siblings": [{"rfilename": "stage/config.yaml", "size": -1, "blobId": "0" * 40}],
            },
            "states no hash or size",
        ),
        ({"sha": "0" * 40, "siblings": [{"rfilename": "../../config.yaml"}]}, "holds no config.yaml"),
    ],
)
def test_a_server_that_is_no_hub_is_named(
    hub: HubServer, answer: object, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_listing", lambda handler, name, revision: handler.respond_json(answer))
    with pytest.raises(InputError, match=message):
        fetch_bundle("hf://org/music/stage")


def test_what_the_hub_lacks_is_named(hub: HubServer) -> None:
    with pytest.raises(InputError, match="no such repository or revision"):
        fetch_bundle("hf://org/nothing")
    with pytest.raises(InputError, match="no such repository or revision"):
        fetch_bundle("hf://org/music/stage@v9")
    with pytest.raises(InputError, match=r"music/other holds no config\.yaml"):
        fetch_bundle("hf://org/music/other")


def test_stages_of_a_repository_are_found_by_one_request(hub: HubServer) -> None:
    assert find_bundles("hf://org/music", ["stage", "other"]) == ["stage"]
    assert len(hub.requests) == 1
