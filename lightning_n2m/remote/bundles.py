"""Stage folders at URLs, in a local cache whose folders are named by the hash of their content.

The cache, ``N2M_CACHE`` or ``~/.cache/lightning_n2m``, holds::

    bundles/HASH/          config.yaml and weights.safetensors; HASH follows from their SHA-256
    urls/HASH.json         which bundle a URL had last, and the versions that the server stated
    partial/               interrupted downloads, completed by the next call

The server is contacted at every use, to compare versions; ``N2M_OFFLINE=1`` (or ``HF_HUB_OFFLINE=1``) uses
what the cache holds. The content of a cached bundle is compared to its hash before each use.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError
from lightning_n2m.remote.download import download, file_sha256
from lightning_n2m.remote.http_client import Unreachable, display_url
from lightning_n2m.remote.hub import HubPlace, HubSource
from lightning_n2m.remote.identifier import check_identifier
from lightning_n2m.remote.sources import (
    OBJECT_STORES,
    HttpSource,
    ObjectStoreSource,
    RemoteFile,
    Source,
    split_pin,
)
from lightning_n2m.storage import write_atomic
from lightning_n2m.yaml_reader import MAX_BYTES

CONFIG = "config.yaml"
WEIGHTS = "weights.safetensors"
FILES = (CONFIG, WEIGHTS)  # nothing else is requested, so a server cannot choose names
_DEFAULT_LIMIT_GB = 16.0  # the largest stage of the paper has 3 GB in 32 bits


def fetch_bundle(url: str) -> Path:
    """A stage folder at a URL as a local folder.

    Args:
        url: ``hf://org/name[/sub][@revision]``, ``https://host/folder``, ``s3://bucket/folder`` or
            ``gs://bucket/folder``. ``#sha256=HEX`` at the end fixes the hash of its ``weights.safetensors``.

    Returns:
        A folder of the cache with ``config.yaml`` and ``weights.safetensors``; it must not be changed.

    Raises:
        InputError: if there is no such bundle, it is not in the cache while the server cannot be reached, or
            its content is not what was stated.
    """
    base, pin = split_pin(url)
    # A commit of the hub never changes.
    is_fixed = base.startswith("hf://") and HubPlace.parse(base).is_commit
    cache = cache_folder()
    with _lock(cache, base):
        entry = _read_entry(cache, base)
        if entry is not None and (is_offline() or is_fixed):
            return _pinned(cache / "bundles" / entry["bundle"], pin, url)
        if is_offline():
            raise InputError(
                f"{display_url(url)} is not in the cache {cache}, and N2M_OFFLINE or HF_HUB_OFFLINE is set; "
                "unset it, or run the command once with a network."
            )
        try:
            folder = _update(cache, base, _source(base, pin is not None), entry, pin)
        except Unreachable as error:
            if entry is None:
                raise InputError(f"{error}; run the command again, a download is resumed.") from error
            print(f"warning: {error}; the copy in the cache is used.", file=sys.stderr)
            folder = cache / "bundles" / entry["bundle"]
        return _pinned(folder, pin, url)


def find_bundles(url: str, names: Sequence[str]) -> list[str]:
    """Which of some folders below a URL are stage folders.

    Args:
        url: See `fetch_bundle`; without a hash.
        names: Names of the folders.

    Raises:
        InputError: if the server cannot be reached and the cache holds none of them.
    """
    base, pin = split_pin(url)
    if pin is not None:
        raise InputError(f"{display_url(url)} holds several stages; give the hash of each stage, not of all.")
    cached = [name for name in names if _read_entry(cache_folder(), join_url(base, name)) is not None]
    if is_offline():
        return cached
    source = _source(base, False)
    try:
        return [name for name in names if source.find(f"{name}/{CONFIG}") is not None]
    except Unreachable as error:
        if not cached:
            raise InputError(f"{error}; run the command again.") from error
        return cached


def join_url(url: str, name: str) -> str:
    """URL of a folder below another one; revision, query and hash stay at the end."""
    if url.startswith("hf://"):
        return str(HubPlace.parse(url).join(name))
    path, mark, query = url.partition("?")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def cache_folder() -> Path:
    """The cache: ``N2M_CACHE``, or ``lightning_n2m`` in the user's cache folder."""
    if own := os.environ.get("N2M_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_n2m"


def is_offline() -> bool:
    """Whether the environment forbids connections."""
    return any(
        os.environ.get(name, "").lower() in ("1", "true", "yes", "on")
        for name in ("N2M_OFFLINE", "HF_HUB_OFFLINE")
    )


def _limit() -> int:
    """Largest number of bytes of weights."""
    text = os.environ.get("N2M_MAX_DOWNLOAD_GB", "")
    try:
        return int(float(text or _DEFAULT_LIMIT_GB) * 1e9)
    except (ValueError, OverflowError) as error:
        raise InputError(f"N2M_MAX_DOWNLOAD_GB is {text!r}; give a number of gigabytes.") from error


def _source(url: str, is_pinned: bool) -> Source:
    protocol = url.partition(":")[0]
    if protocol == "hf":
        return HubSource(HubPlace.parse(url))
    if protocol in ("http", "https"):
        return HttpSource(url, is_pinned)
    if protocol in OBJECT_STORES and "::" not in url:
        return ObjectStoreSource(url)
    raise InputError(
        f"{display_url(url)[:200]}: stages are read from local folders, hf://, https://, s3:// and gs://; "
        "give one of these."
    )


def _update(cache: Path, url: str, source: Source, entry: Mapping[str, Any] | None, pin: str | None) -> Path:
    """The bundle that the server has now; downloaded unless the cache holds these versions."""
    files = [_find(source, name, url) for name in FILES]
    versions = {file.name: file.version for file in files}
    if entry is not None and entry["versions"] == versions and all(versions.values()):
        return cache / "bundles" / str(entry["bundle"])
    limits = {CONFIG: MAX_BYTES, WEIGHTS: _limit()}
    hashes, parts = {}, {}
    for file in files:
        if pin is not None and file.name == WEIGHTS and file.digest is None:
            file = RemoteFile(file.name, file.shown, file.size, file.version, ("sha256", pin))
        if file.size is None and file.name == WEIGHTS:
            raise InputError(f"The server does not state the length of {file.shown}; use another server.")
        parts[file.name] = _part(cache, url, file)
        hashes[file.name] = download(source, file, parts[file.name], limits[file.name])
    try:
        check_identifier(parts[CONFIG], parts[WEIGHTS], display_url(url))
    except InputError:
        for part in parts.values():  # otherwise the next call would find complete downloads
            part.unlink()
        raise
    bundle = _bundle_name(hashes)
    _store(cache / "bundles", bundle, parts)
    record = {"url": display_url(url), "bundle": bundle, "versions": versions}
    write_atomic(_entry_path(cache, url), json.dumps(record, indent=1))
    return cache / "bundles" / bundle


def _find(source: Source, name: str, url: str) -> RemoteFile:
    file = source.find(name)
    if file is None:
        raise InputError(
            f"{display_url(url)} holds no {name}, so it is not a stage folder; give another URL."
        )
    return file


def _pinned(folder: Path, pin: str | None, url: str) -> Path:
    """The folder, if its weights have the hash that the user gave."""
    if pin is not None and file_sha256(folder / WEIGHTS) != pin:
        raise InputError(
            f"{display_url(url)}: its {WEIGHTS} does not have the hash {pin[:12]}... of the URL; correct one."
        )
    return folder


def _bundle_name(hashes: Mapping[str, str]) -> str:
    lines = "".join(f"{hashes[name]}  {name}\n" for name in sorted(hashes))
    return hashlib.sha256(lines.encode()).hexdigest()[:32]


def _key(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def _entry_path(cache: Path, url: str) -> Path:
    return cache / "urls" / f"{_key(url)}.json"


def _read_entry(cache: Path, url: str) -> dict[str, Any] | None:
    """What the cache holds for a URL; none if it holds nothing, or the content has been changed."""
    try:
        entry = json.loads(_entry_path(cache, url).read_text(encoding="utf-8"))
        bundle, versions = entry["bundle"], entry["versions"]
        if not re.fullmatch(r"[0-9a-f]{32}", bundle) or not isinstance(versions, dict):
            return None
        folder = cache / "bundles" / bundle
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return dict(entry) if _is_intact(folder) else None


def _is_intact(folder: Path) -> bool:
    """Whether a folder of the cache has the content that its name states."""
    try:
        return _bundle_name({name: file_sha256(folder / name) for name in FILES}) == folder.name
    except OSError:
        return False


def _part(cache: Path, url: str, file: RemoteFile) -> Path:
    """Path of a partial download; parts of other versions of the file are removed."""
    folder = cache / "partial"
    folder.mkdir(parents=True, exist_ok=True)
    prefix = f"{_key(url)}-{file.name}-"
    part = folder / (prefix + _key(f"{file.version} {file.size}"))
    for other in folder.glob(f"{prefix}*"):
        if other != part:
            other.unlink(missing_ok=True)
    return part


def _store(bundles: Path, name: str, parts: Mapping[str, Path]) -> None:
    """Move complete files into a folder that appears under its name only with all of them."""
    bundles.mkdir(parents=True, exist_ok=True)
    target = bundles / name
    if _is_intact(target):  # the same content from another URL
        for part in parts.values():
            part.unlink()
        return
    folder = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=bundles))
    try:
        folder.chmod(0o755)
        for file, part in parts.items():
            part.replace(folder / file)
        if target.exists():
            target.rename(folder.with_suffix(".damaged"))
        with contextlib.suppress(FileExistsError):  # another process has stored the same content
            folder.rename(target)
    finally:
        for rest in (folder, folder.with_suffix(".damaged")):
            shutil.rmtree(rest, ignore_errors=True)


@contextmanager
def _lock(cache: Path, url: str) -> Iterator[None]:
    """Let one process at a time download a URL; the others wait and find the result.

    Raises:
        InputError: if the cache cannot be written.
    """
    path = _entry_path(cache, url).with_suffix(".lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = path.open("w")
    except OSError as error:
        raise InputError(
            f"The cache {cache} cannot be written ({error.strerror}); set N2M_CACHE to another folder."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another process that downloads {display_url(url)}.", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            pass  # a file system without locks, where two processes may download the same content
        yield
