"""Sampling with the starter's cascade: speed, and peak memory as a function of the length of the music.

The refiners compute in windows, also their drafts and consistency projections. Their memory still grows with
the length, because several signals of the full length exist at the same time (conditioning, x_t, noise, the
last two estimates, sum and weights of the windows, the next x_t), 29 MB each for 5 minutes at 24 kHz. A
generator is not trained on crops and computes the whole piece at once, so that its memory grows with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.music import ROOT
from benchmarks.result import Result

SECONDS, LONG = 30.0, 300.0  # of music
MEMORY_STEPS = 4  # sampling steps; memory does not depend on their number
PROMPT = "a slow waltz for solo piano"


ROUTES = ("waveform", "spectrogram")


def measure() -> Iterable[Result]:
    for route in ROUTES:
        rate = SECONDS / _in_process(route, SECONDS, None)["seconds"]
        question = f"sampling: text to {SECONDS:g} s, {route} route"
        yield Result(question, rate, 1.0, "real time", "audio-s/s", target=1.0)
    yield from memory()


def memory() -> Iterable[Result]:
    """Peak memory for ten times the length, of all stages and of the refiners without the generator."""
    for route in ROUTES:
        for what, first in (("all stages", 0), ("refiners", 1)):
            short, long = (
                _in_process(route, seconds, MEMORY_STEPS, first)["megabytes"] for seconds in (SECONDS, LONG)
            )
            question = f"sampling: peak memory of {LONG / 60:g} minutes, {route} route, {what}"
            yield Result(question, long, short, f"itself at {SECONDS:g} s", "MB", 0.8, False)


def seconds_of(route: str, few: bool) -> float:
    """Seconds from a prompt to `SECONDS` of music, without loading, with few-step students or teachers."""
    return _in_process(route, SECONDS, None, few=few)["seconds"]


def _in_process(
    route: str, seconds: float, total: int | None, first: int = 0, few: bool = False
) -> dict[str, float]:
    """Run the cascade in its own process, from its first or a later stage on."""
    command = [sys.executable, "-m", "benchmarks.sampling", json.dumps([route, seconds, total, first, few])]
    output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output)


def _generate(route: str, seconds: float, total: int | None, first: int, few: bool) -> dict[str, float]:
    """Seconds from text to audio, without loading, and the peak memory of the process in MB."""
    import torch
    import yaml

    from lightning_n2m.seeding import PerSampleGenerator
    from lightning_n2m.stages.stage_run import StageRun

    config = yaml.safe_load((ROOT / f"configs/cascade/{route}.yaml").read_text())["model"]["init_args"]
    for name, settings in config.items():
        student = f"{settings['folder']}_few" if few and isinstance(settings, dict) else ""
        if student and Path(student, "config.yaml").is_file():
            config[name] = {"folder": student}
    stages = [
        StageRun(**config[name] | ({"num_steps": total} if total else {})).load()
        for name in ("generator", "refiner", "super_resolution")
    ]
    channels, steps = stages[0].network.channels, round(seconds * stages[0].output_rate)
    signal = torch.zeros(1, channels, steps) if first else None
    if stages[0].text is not None:
        stages[0].text.encode([PROMPT], torch.device("cpu"))  # loads the encoder
    began = time.perf_counter()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_in_16_bits()):
        for stage in stages[first:]:
            signal = stage.generate([PROMPT], seconds, PerSampleGenerator("0", [0]), signal)
    took = time.perf_counter() - began
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    return {"seconds": took, "megabytes": int(peak.split()[1]) / 1024}


def fast_in_16_bits() -> bool:
    """Whether `make music` computes in 16 bits on this processor."""
    flags = Path("/proc/cpuinfo").read_text()
    return "amx_bf16" in flags or "avx512_bf16" in flags


if __name__ == "__main__":
    os.chdir(ROOT)  # the paths of the stage folders are relative
    print(json.dumps(_generate(*json.loads(sys.argv[1]))))
