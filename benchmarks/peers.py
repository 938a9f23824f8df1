"""Other people's networks and ffmpeg, from PyPI, in an environment of their own that shares our PyTorch."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

from benchmarks.music import ROOT

# Without what they require: it pins old versions of half of the field, of which their networks need none.
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
    """The Python of the peers, whose environment is made when it is missing or of other versions."""
    stamp, python = folder / "installed", folder / "bin/python"
    wanted = "\n".join((*PACKAGES, sys.version, sysconfig.get_path("purelib")))
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    print(f"Setting up {os.path.relpath(folder)} with {', '.join(PACKAGES)} ...", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-deps", *PACKAGES]
    subprocess.run(install, check=True)
    (shared,) = folder.glob("lib/python3*/site-packages")
    # After the peers' own packages on the path: what both have is the peers'.
    (shared / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    stamp.write_text(wanted)
    return python


def ffmpeg() -> str:
    """Path of an ffmpeg program that a Python package carries, the same on every machine."""
    command = [environment(), "-c", "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
