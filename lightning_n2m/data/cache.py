"""A folder that keeps shards which came over the network."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, copy_from


@dataclass(frozen=True)
class Cache:
    """Shards by their checksums; several processes, and several runs, may share one.

    Args:
        folder: Where they are kept, best on a disk of the machine itself.
        gigabytes: What they may take; beyond it, those that were not read for longest are dropped.
            Unbounded when null.
    """

    folder: str
    gigabytes: float | None = None

    def fetch(self, place: Location, sha256: str) -> Path:
        """A shard as a file of this machine, fetched only if it is not there yet.

        Raises:
            InputError: if what arrives is not what the index names.
            OSError: if it cannot be fetched or kept.
        """
        import hashlib

        kept = Path(self.folder) / f"{sha256}.tar"
        if not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            # Under a name of this process first: others must not read what has not been checked.
            arrived = kept.with_name(f"{sha256}.{os.getpid()}.part")
            try:
                copy_from(place, arrived)
                with open(arrived, "rb") as file:
                    if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                        raise InputError(f"{place} is not what its index says; build it again.")
                arrived.replace(kept)
            finally:
                arrived.unlink(missing_ok=True)
            self._make_room(kept)
        with contextlib.suppress(FileNotFoundError):  # Another process may have dropped it since.
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
