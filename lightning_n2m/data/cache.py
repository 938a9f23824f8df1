"""A folder that keeps shards which were downloaded."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, atomic_path, open_read

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Cache:
    """Shards by their checksums; several processes, and several runs, may share one.

    Args:
        folder: Where the shards are kept, best on a local disk.
        gigabytes: Upper limit of their total size; beyond it, the least recently read shards are removed.
            Unlimited when null.
    """

    folder: str
    gigabytes: float | None = None

    def fetch(self, place: Location, sha256: str, size: int) -> Path:
        """A shard as a local file, downloaded only if it is not in the cache yet.

        Args:
            place: URL of the shard.
            sha256: Its checksum by the index: 64 hexadecimal digits (`schema` checks this on reading).
            size: Its bytes by the index; a download stops there.

        Raises:
            InputError: if the download is not the file that the index describes.
            OSError: if the download or the cache folder fails.
        """
        kept = Path(self.folder) / f"{sha256}.tar"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            # The final name appears after the check: other processes never read an unchecked file.
            with atomic_path(kept) as part:
                if _download(place, part, limit=size) != sha256:
                    raise InputError(f"{place} differs from its index (size or checksum); build it again.")
            self._make_room(kept)
        with contextlib.suppress(FileNotFoundError):  # Another process may have removed it since.
            os.utime(kept)
        return kept

    def _make_room(self, kept: Path) -> None:
        if self.gigabytes is None:
            return
        files = []
        for path in kept.parent.glob("*.tar"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= self.gigabytes * 1e9:
                return
            if path != kept:
                path.unlink(missing_ok=True)
                total -= size


def _download(place: Location, target: Path, limit: int) -> str:
    """Copy at most one byte more than ``limit``, and return the SHA-256 of what was copied."""
    digest, remaining = hashlib.sha256(), limit + 1
    with open_read(place) as source, open(target, "wb") as file:
        while remaining > 0 and (chunk := source.read(min(_CHUNK, remaining))):
            digest.update(chunk)
            file.write(chunk)
            remaining -= len(chunk)
    return digest.hexdigest()
