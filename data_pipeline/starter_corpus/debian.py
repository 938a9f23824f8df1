"""Files of Debian packages, without root: downloaded by apt-get and unpacked into a cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lightning_n2m.errors import InputError


def cache_folder() -> Path:
    """Folder that keeps what was downloaded, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_n2m" / "debian"


def package(name: str, cache: Path) -> Path:
    """Root folder of an unpacked package; it is downloaded when it is not there yet.

    Args:
        name: Name of a Debian package.
        cache: Folder that keeps unpacked packages.

    Raises:
        InputError: if the package cannot be downloaded here.
    """
    folder = cache / name
    if folder.is_dir():
        return folder
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise InputError(
                f"'{tool}' is not on this machine, so the Debian package {name} cannot be fetched; "
                f"run the starter on Debian or Ubuntu, or unpack {name} into {folder} yourself."
            )
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix=f".{name}.") as download:
        result = subprocess.run(["apt-get", "download", name], cwd=download, capture_output=True, text=True)
        files = list(Path(download).glob("*.deb"))
        if result.returncode or not files:
            lines = [line for line in result.stderr.splitlines() if line.startswith("E:")]
            raise InputError(
                f"The Debian package {name} cannot be downloaded ({' '.join(lines) or 'no reason given'}); "
                "run 'apt-get update' as root and look at the network."
            )
        unpack(files[:1], folder)
    return folder


def unpack(files: Iterable[Path], folder: Path) -> None:
    """Unpack packages into one new folder, which appears when it is complete.

    Args:
        files: The ``.deb`` files.
        folder: Where to unpack; one that another process has made in the meantime stays.
    """
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        tree = Path(scratch) / "tree"
        for package_file in files:
            subprocess.run(["dpkg", "-x", str(package_file), str(tree)], check=True)
        try:
            tree.rename(folder)
        except OSError:
            if not folder.is_dir():
                raise


def file(name: str, path: str, cache: Path) -> Path:
    """A file of a package, from the system where it is installed, else from the cache.

    Args:
        name: Name of the package.
        path: Path of the file from the root, without a leading slash.
        cache: Folder that keeps unpacked packages.

    Raises:
        InputError: if the package cannot be downloaded, or does not hold the file.
    """
    for root in (Path("/"), package(name, cache) if not (Path("/") / path).exists() else Path("/")):
        if (root / path).exists():
            return root / path
    raise InputError(
        f"The Debian package {name} holds no {path} in this release; use Debian 12 or Ubuntu 22.04 or newer."
    )
