"""Stage folders on a model hub (``hf://org/name/sub@revision``), whose API states a hash for every file.

The few endpoints that a download needs are requested directly, with the bounds of
`lightning_n2m.remote.http_client`; ``push`` uses the package huggingface_hub.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lightning_n2m.errors import InputError
from lightning_n2m.remote.http_client import Missing, check_url, read_small
from lightning_n2m.remote.sources import RemoteFile, open_http

MAX_LISTING = 1 << 24  # bytes; a repository of 10,000 files has about 3 MB
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class HubPlace:
    """A folder of a repository on the hub.

    Args:
        repository: ``org/name``.
        folder: Folder below it; empty for the repository itself.
        revision: Branch, tag or commit; none for the main branch.
    """

    repository: str
    folder: str
    revision: str | None

    @classmethod
    def parse(cls, url: str) -> HubPlace:
        """Read ``hf://org/name[/sub][@revision]``.

        Raises:
            InputError: if it has another form.
        """
        path, at, revision = url.removeprefix("hf://").partition("@")
        parts = path.rstrip("/").split("/")
        is_valid = len(parts) >= 2 and all(_NAME.fullmatch(part) and ".." not in part for part in parts)
        if not is_valid or (at and not (_REVISION.fullmatch(revision) and ".." not in revision)):
            raise InputError(
                f"{url[:200]} is not a place on the hub; give hf://ORG/NAME[/FOLDER][@REVISION]."
            )
        return cls("/".join(parts[:2]), "/".join(parts[2:]), revision or None)

    @property
    def is_commit(self) -> bool:
        """Whether the revision is a commit, whose files never change."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None

    def join(self, name: str) -> HubPlace:
        """A folder below this one."""
        return HubPlace(self.repository, f"{self.folder}/{name}".lstrip("/"), self.revision)

    def __str__(self) -> str:
        folder = f"/{self.folder}" if self.folder else ""
        return f"hf://{self.repository}{folder}" + (f"@{self.revision}" if self.revision else "")


def hub_endpoint() -> str:
    """URL of the model hub, which ``HF_ENDPOINT`` replaces."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def url_path(path: str) -> str:
    """A path with every character escaped that has a meaning in URLs."""
    return quote(path, safe="/")


def hub_token() -> str | None:
    """The user's token: ``HF_TOKEN``, or what ``hf auth login`` stored."""
    from huggingface_hub import get_token

    return get_token()


class HubSource:
    """A folder of a repository on the hub.

    Args:
        place: The folder.
    """

    def __init__(self, place: HubPlace) -> None:
        self.place, self.endpoint = place, hub_endpoint()
        check_url(self.endpoint)
        self.token = hub_token()
        self._commit = ""
        self._listing: dict[str, dict[str, Any]] | None = None

    def _files(self) -> dict[str, dict[str, Any]]:
        """All files of the revision by path, with size and hash."""
        if self._listing is not None:
            return self._listing
        revision = url_path(self.place.revision or "main").replace("/", "%2F")
        url = f"{self.endpoint}/api/models/{self.place.repository}/revision/{revision}?blobs=true"
        try:
            answer = json.loads(read_small(url, MAX_LISTING, self.token))
            commit = answer["sha"]
            if not _COMMIT.fullmatch(commit):
                raise ValueError("no commit")
            listing = {item["rfilename"]: item for item in answer["siblings"]}
        except Missing as error:
            raise InputError(
                f"{self.place}: the hub has no such repository or revision; check the name, and for a "
                "private repository set HF_TOKEN."
            ) from error
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InputError(
                f"{self.endpoint} does not answer as a model hub does; check HF_ENDPOINT."
            ) from error
        self._commit, self._listing = commit, listing
        return listing

    def find(self, name: str) -> RemoteFile | None:
        """Size and hash as the hub states them; large files have a SHA-256, small ones a git hash."""
        path = f"{self.place.folder}/{name}".lstrip("/")
        item = self._files().get(path)
        if item is None:
            return None
        lfs, size = item.get("lfs"), item.get("size")
        if isinstance(lfs, dict):
            kind, digest, size = "sha256", lfs.get("sha256"), lfs.get("size", size)
        else:
            kind, digest = "git", item.get("blobId")
        pattern = _SHA256 if kind == "sha256" else _COMMIT
        if not isinstance(digest, str) or not pattern.fullmatch(digest) or type(size) is not int or size < 0:
            raise InputError(f"{self.endpoint} states no hash or size of {path}; check HF_ENDPOINT.")
        return RemoteFile(name, f"{self.place}/{name}", size, digest, (kind, digest))

    def open(self, file: RemoteFile, start: int) -> tuple[int, Iterator[bytes]]:
        """The content, which the hub may redirect to another server."""
        path = url_path(f"{self.place.folder}/{file.name}".lstrip("/"))
        url = f"{self.endpoint}/{self.place.repository}/resolve/{self._commit}/{path}"
        return open_http(url, file, start, self.token)
