"""Networks of other libraries and ffmpeg, from PyPI, in their own environment with this project's PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.music import ROOT

# Without their dependencies: they pin old versions of many packages that the networks do not need.
PACKAGES = (
    "audio-diffusion-pytorch==0.1.3",
    "a-unet==0.0.16",
    "diffusers==0.42.1",
    "stable-audio-tools==0.0.19",
    "einops==0.8.2",
    "einops-exts==0.0.4",
    "imageio-ffmpeg==0.8.1",
)


def environment(folder: Path = ROOT / "build/peers") -> Path:
    """Python of the peers' environment, which is created if it is missing or has other versions."""
    stamp, python = folder / "installed", folder / "bin/python"
    expected = "\n".join((*PACKAGES, sys.version, sysconfig.get_path("purelib")))
    if stamp.is_file() and stamp.read_text() == expected:
        return python
    print(f"Setting up {os.path.relpath(folder)} with {', '.join(PACKAGES)} ...", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", *PACKAGES]
    subprocess.run(install, check=True)
    (shared,) = folder.glob("lib/python3*/site-packages")
    # After the peers' own packages on the path, which take precedence.
    (shared / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    stamp.write_text(expected)
    return python


def ffmpeg() -> str:
    """Path of the ffmpeg program of a Python package, the same version on every machine."""
    command = [environment(), "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
