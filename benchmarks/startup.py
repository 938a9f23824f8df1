"""Start-up time of commands, and import time of modules for use in other projects."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version

from benchmarks.music import ROOT
from benchmarks.result import Result
from benchmarks.timing import medians

# The modules that the README offers to other projects.
MODULES = "import lightning_n2m.networks.unet, lightning_n2m.diffusion.sampler, lightning_n2m.diffusion.steps"


def measure() -> Iterable[Result]:
    for what, limit, arguments in (
        ("import lightning_n2m", 0.3, ("-c", "import lightning_n2m")),
        ("python -m lightning_n2m --help", 3.0, ("-m", "lightning_n2m", "--help")),
    ):
        (seconds,) = medians(_python(*arguments))
        yield Result(f"startup: {what}", seconds, limit, f"{limit:g} s", "s", 1.0, False)
    torch = f"import torch {version('torch').partition('+')[0]}"
    modules, torch_only = medians(_python("-c", MODULES), _python("-c", "import torch"), rounds=3)
    yield Result("startup: import of U-Net and sampler", modules, torch_only, torch, "s", 0.8, False)
    lightning = f"import lightning.pytorch {version('lightning')}"
    fit_help, lightning_only = medians(
        _python("-m", "lightning_n2m", "fit", "--help"), _python("-c", "import lightning.pytorch"), rounds=3
    )
    yield Result(
        "startup: python -m lightning_n2m fit --help", fit_help, lightning_only, lightning, "s", 0.6, False
    )


def _python(*arguments: str) -> Callable[[], object]:
    command = [sys.executable, *arguments]
    return lambda: subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
