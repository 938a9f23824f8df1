"""Stage folders at URLs: cached by content, resumed, checked, usable offline."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path

import pytest

from lightning_n2m.errors import InputError
from lightning_n2m.remote import bundles
from lightning_n2m.remote.bundles import fetch_bundle, find_bundles, join_url
from tests.remote.conftest import bundle_files
from tests.remote.servers import FileServer, bytes_sent

WEIGHTS = "weights.safetensors"


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def downloads(server: FileServer, name: str = WEIGHTS) -> int:
    return sum(r.method == "GET" and r.path.endswith(name) for r in server.requests)


def test_a_bundle_is_downloaded_once(server: FileServer, files: dict[str, bytes], cache: Path) -> None:
    folder = fetch_bundle(f"{server.url}/stage")
    assert content(folder) == files and folder.is_relative_to(cache)
    assert fetch_bundle(f"{server.url}/stage") == folder
    assert not list((cache / "partial").iterdir())
    sent = server.sent
    fetch_bundle(f"{server.url}/stage")
    assert server.sent == sent  # HEAD requests alone


def test_a_change_on_the_server_is_noticed(server: FileServer, tmp_path: Path) -> None:
    old = fetch_bundle(f"{server.url}/stage")
    files = bundle_files(tmp_path / "new", seed=1)
    server.files = {f"/stage/{name}": data for name, data in files.items()}
    new = fetch_bundle(f"{server.url}/stage")
    assert new != old and content(new) == files
    assert old.is_dir()  # another process may have opened it


def test_the_same_content_at_two_urls_is_stored_once(server: FileServer, cache: Path) -> None:
    server.files |= {path.replace("/stage/", "/copy/"): data for path, data in server.files.items()}
    assert fetch_bundle(f"{server.url}/stage") == fetch_bundle(f"{server.url}/copy")
    assert len(list((cache / "bundles").iterdir())) == 1


def test_a_cut_connection_is_resumed_where_it_ended(server: FileServer, files: dict[str, bytes]) -> None:
    server.cut_after = 30_000
    folder = fetch_bundle(f"{server.url}/stage")
    assert content(folder) == files
    length = sum(map(len, files.values()))
    assert bytes_sent(server, length) == length  # no byte twice
    ranges = [r.headers.get("range") for r in server.requests if r.method == "GET" and WEIGHTS in r.path]
    assert ranges == [None, "bytes=30000-"]


def test_a_later_call_completes_an_interrupted_download(
    server: FileServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cut_after = 30_000
    monkeypatch.setattr("lightning_n2m.remote.download.ATTEMPTS", 1)
    with pytest.raises(InputError, match="ended after 30000 of"):
        fetch_bundle(f"{server.url}/stage")
    server.cut_after = None
    assert content(fetch_bundle(f"{server.url}/stage")) == files
    length = sum(map(len, files.values()))
    assert bytes_sent(server, length) == length


@pytest.mark.parametrize("etags", [True, False])
def test_a_server_without_ranges_or_versions_sends_everything_again(
    server: FileServer, files: dict[str, bytes], etags: bool
) -> None:
    server.ranges, server.etags, server.cut_after = False, etags, 30_000
    attempts = iter(range(10))

    def heal(handler: object) -> bool:
        server.cut_after = 30_000 if next(attempts) < 5 else None
        return False

    server.answer = heal
    assert content(fetch_bundle(f"{server.url}/stage")) == files


def test_a_file_that_changes_while_it_is_resumed_is_not_mixed(server: FileServer, tmp_path: Path) -> None:
    new = bundle_files(tmp_path / "new", seed=1)
    server.cut_after = 30_000

    def change(handler: object) -> bool:
        if server.sent > 30_000:  # the config and a part of the weights
            server.files, server.cut_after = {f"/stage/{name}": data for name, data in new.items()}, None
        return False

    server.answer = change
    with pytest.raises(InputError, match="do not belong together"):
        fetch_bundle(f"{server.url}/stage")
    assert content(fetch_bundle(f"{server.url}/stage")) == new


def test_offline_the_cache_is_used_and_nothing_is_requested(
    server: FileServer, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = fetch_bundle(f"{server.url}/stage")
    monkeypatch.setenv("N2M_OFFLINE", "1")
    server.requests.clear()
    assert fetch_bundle(f"{server.url}/stage") == folder
    with pytest.raises(InputError, match=r"/other is not in the cache .* N2M_OFFLINE") as refusal:
        fetch_bundle(f"{server.url}/other")
    assert "\n" not in str(refusal.value) and not server.requests


def test_a_server_that_is_down_leaves_the_cached_copy(
    server: FileServer, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = fetch_bundle(f"{server.url}/stage")

    def fail(handler: object) -> bool:
        handler.respond(503)  # type: ignore[attr-defined]
        return True

    server.answer = fail
    assert fetch_bundle(f"{server.url}/stage") == folder
    assert "status 503); the copy in the cache is used" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"cannot be reached .status 503.; run the command again"):
        fetch_bundle(f"{server.url}/other")


def test_a_damaged_cache_is_downloaded_again(server: FileServer, files: dict[str, bytes]) -> None:
    folder = fetch_bundle(f"{server.url}/stage")
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(500)
        file.write(b"damage")
    assert content(fetch_bundle(f"{server.url}/stage")) == files
    for name in ("urls", "bundles"):
        for path in (folder.parents[1] / name).rglob("*.json"):
            path.write_text('{"bundle": "../../..", "versions": {}}')
    assert content(fetch_bundle(f"{server.url}/stage")) == files


def test_two_processes_download_once(server: FileServer, files: dict[str, bytes]) -> None:
    folders: list[Path] = []
    threads = [
        threading.Thread(target=lambda: folders.append(fetch_bundle(f"{server.url}/stage"))) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert folders[0] == folders[1] and downloads(server) == 1


def test_a_hash_in_the_url_is_compared(server: FileServer, files: dict[str, bytes]) -> None:
    right = hashlib.sha256(files[WEIGHTS]).hexdigest()
    assert content(fetch_bundle(f"{server.url}/stage#sha256={right}")) == files
    wrong = "0" * 64
    with pytest.raises(InputError, match="does not have the hash 000000000000"):  # from the cache
        fetch_bundle(f"{server.url}/stage#sha256={wrong}")
    server.files |= {path.replace("/stage/", "/copy/"): data for path, data in server.files.items()}
    with pytest.raises(InputError, match="does not have the hash that was stated"):  # by download
        fetch_bundle(f"{server.url}/copy#sha256={wrong}")
    with pytest.raises(InputError, match="the part after # is not sha256="):
        fetch_bundle(f"{server.url}/stage#main")


def test_damage_is_noticed_where_the_server_states_no_hash(server: FileServer) -> None:
    weights = bytearray(server.files[f"/stage/{WEIGHTS}"])
    weights[-1] ^= 1
    server.files[f"/stage/{WEIGHTS}"] = bytes(weights)
    for _ in range(2):  # the damaged download is not kept
        with pytest.raises(InputError, match="do not belong together, or are damaged"):
            fetch_bundle(f"{server.url}/stage")
    assert downloads(server) == 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ftp://host/stage", "read from local folders, hf://, https://, s3:// and gs://"),
        ("zip://a::https://host/b", "read from local folders"),
        ("reference://x", "read from local folders"),
        ("memory://a::http://b", "read from local folders"),
        ("https://user:secret@host/stage", "holds a user name or password"),
        ("http://example.org/stage", "is not encrypted"),
        ("https:///stage", "not a valid"),
        ("https://[::1/stage", "not a valid URL"),
        ("https://host:99999/stage", "not a valid URL"),
        ("https://host/a\nb", "not a valid"),
        ("hf://onlyname", "give hf://ORG/NAME"),
        ("hf://org/../x", "give hf://ORG/NAME"),
        ("hf://org/name/../x", "give hf://ORG/NAME"),
        ("hf://org/name@", "give hf://ORG/NAME"),
        ("hf://org/name@../../x", "give hf://ORG/NAME"),
    ],
)
def test_other_urls_are_refused_in_one_line(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        fetch_bundle(url)
    assert "\n" not in str(refusal.value) and "secret" not in str(refusal.value)


@pytest.mark.parametrize(("protocol", "package"), [("s3", "s3fs"), ("gs", "gcsfs"), ("gcs", "gcsfs")])
def test_a_missing_store_package_is_named(
    protocol: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(url: str) -> None:
        raise ImportError(f"Install it to access {protocol}")

    monkeypatch.setattr("fsspec.core.url_to_fs", fail)
    with pytest.raises(InputError, match=f"pip install {package}") as refusal:
        fetch_bundle(f"{protocol}://bucket/stage")
    assert "\n" not in str(refusal.value)


def test_object_stores_by_the_memory_filesystem(
    files: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec
    from fsspec.implementations.memory import MemoryFile

    store = fsspec.filesystem("memory")
    for name, data in files.items():
        store.pipe_file(f"/bucket-{tmp_path.name}/stage/{name}", data)
    url = f"memory://bucket-{tmp_path.name}/stage"
    reads = []
    read, seek = MemoryFile.read, MemoryFile.seek

    def failing_read(self: MemoryFile, size: int = -1) -> bytes:
        if len(reads) == 3:  # in the middle of the weights
            reads.append(b"")
            raise OSError("connection reset")
        reads.append(read(self, min(size, 30_000)))
        return reads[-1]

    offsets = []
    monkeypatch.setattr(MemoryFile, "read", failing_read)
    monkeypatch.setattr(
        MemoryFile,
        "seek",
        lambda self, offset, whence=0: (offsets.append(offset), seek(self, offset, whence))[1],
    )
    folder = fetch_bundle(url)
    assert content(folder) == files
    assert max(offsets) > 0  # resumed
    count = len(reads)
    assert fetch_bundle(url) == folder and len(reads) == count
    new = bundle_files(tmp_path / "new", seed=1)
    for name, data in new.items():
        store.pipe_file(f"/bucket-{tmp_path.name}/stage/{name}", data)
    assert content(fetch_bundle(url)) == new
    with pytest.raises(InputError, match=r"holds no config\.yaml"):
        fetch_bundle(f"{url}-not-there")


def test_stages_of_a_cascade_are_found(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files |= {path.replace("/stage/", "/all/vocoder/"): data for path, data in server.files.items()}
    names = ["generator", "vocoder"]
    assert find_bundles(f"{server.url}/all", names) == ["vocoder"]
    fetch_bundle(join_url(f"{server.url}/all", "vocoder"))
    monkeypatch.setenv("N2M_OFFLINE", "true")
    assert find_bundles(f"{server.url}/all/", names) == ["vocoder"]
    assert find_bundles(f"{server.url}/none", names) == []
    with pytest.raises(InputError, match="the hash of each stage"):
        find_bundles(f"{server.url}/all#sha256={'0' * 64}", names)


def test_names_are_joined_before_revision_and_query() -> None:
    assert join_url("hf://org/name@v1", "a") == "hf://org/name/a@v1"
    assert join_url("hf://org/name/sub", "a") == "hf://org/name/sub/a"
    assert join_url("https://host/b/?sig=x/y", "a") == "https://host/b/a?sig=x/y"
    assert join_url("s3://bucket", "a") == "s3://bucket/a"


def test_a_signature_in_the_query_is_sent_but_not_shown(server: FileServer, cache: Path) -> None:
    fetch_bundle(f"{server.url}/stage?sig=secret")
    assert all(request.path.endswith("?sig=secret") for request in server.requests)
    stored = [path.read_text() for path in (cache / "urls").glob("*.json")]
    assert len(stored) == 1 and "secret" not in stored[0]
    with pytest.raises(InputError) as refusal:
        fetch_bundle(f"{server.url}/other?sig=secret")
    assert "secret" not in str(refusal.value)


def test_a_cache_that_cannot_be_written_is_named(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("N2M_CACHE", "/dev/null/cache")
    with pytest.raises(InputError, match=r"cannot be written .* set N2M_CACHE"):
        fetch_bundle(f"{server.url}/stage")


def test_a_full_disk_is_noticed_before_the_download(
    server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="has no room for"):
        fetch_bundle(f"{server.url}/stage")
    assert not downloads(server)


def test_the_cache_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundles.cache_folder() == Path(os.environ["N2M_CACHE"])
    monkeypatch.delenv("N2M_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert bundles.cache_folder() == Path("/x/lightning_n2m")


def test_the_index_is_readable(server: FileServer, cache: Path, files: dict[str, bytes]) -> None:
    folder = fetch_bundle(f"{server.url}/stage")
    (entry,) = (json.loads(path.read_text()) for path in (cache / "urls").glob("*.json"))
    assert entry["url"] == f"{server.url}/stage" and entry["bundle"] == folder.name
    assert set(entry["versions"]) == set(files)
