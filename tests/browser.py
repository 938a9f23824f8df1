"""A Chromium for tests: the installed one, else Debian's packages, unpacked into the cache without root."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data_pipeline.starter_corpus.debian import cache_folder, unpack
from lightning_n2m.errors import InputError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_chromium() -> tuple[Path, dict[str, str]]:
    """Program and environment of a Chromium.

    Raises:
        InputError: if there is none, and Debian's packages cannot be fetched.
    """
    for name in NAMES:
        path = shutil.which(name)
        if path is not None:
            return Path(path), {}
    tree = _unpacked(cache_folder() / "chromium-with-libraries")
    libraries = sorted({str(path.parent) for path in tree.glob("usr/lib/**/lib*.so*")})
    fonts = {"FONTCONFIG_PATH": str(tree / "etc/fonts")} if not Path("/etc/fonts").exists() else {}
    return tree / "usr/lib/chromium/chromium", {"LD_LIBRARY_PATH": ":".join(libraries), **fonts}


def _unpacked(folder: Path) -> Path:
    """Chromium and all packages that it needs and this machine lacks, in one folder."""
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", "chromium"]
    plan = subprocess.run(command, capture_output=True, text=True)
    packages = [line.split()[1] for line in plan.stdout.splitlines() if line.startswith("Inst ")]
    if plan.returncode or not packages:
        raise InputError("There is no Chromium; install one, or run 'apt-get update' as root.")
    with tempfile.TemporaryDirectory(dir=folder.parent) as download:
        subprocess.run(["apt-get", "download", *packages], cwd=download, check=True, capture_output=True)
        unpack(Path(download).glob("*.deb"), folder)
    return folder


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by playwright."""
    from playwright.sync_api import sync_playwright

    program, environment = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program,
            env={**os.environ, **environment},
            # Containers have a small /dev/shm, and root has no sandbox.
            args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"],
        )
        try:
            yield browser
        finally:
            browser.close()
