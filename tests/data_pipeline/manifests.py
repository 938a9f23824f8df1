"""Manifests of short pieces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

from data_pipeline.__main__ import main
from data_pipeline.scan.track import Track, read_manifest


def run(source: Path, output: Path, *more: str) -> tuple[list[Track], dict[str, str]]:
    assert main(["manifest", "--source", str(source), "--output", str(output), "--workers", "1", *more]) == 0
    lines = (output.with_name("rejected.jsonl")).read_text().splitlines()
    return read_manifest(output), {line["path"]: line["reason"] for line in map(json.loads, lines)}


def tune(path: Path, seed: int = 0, seconds: float = 6, **tags: str) -> Path:
    """A short piece that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = 12_000
    draw = np.random.default_rng(seed)
    levels = np.repeat(draw.uniform(0.02, 0.2, int(seconds * 4) + 1), rate // 4)[: int(rate * seconds)]
    with soundfile.SoundFile(path, "w", rate, 1) as file:
        for name, value in tags.items():
            setattr(file, name, value)
        file.write(levels * draw.normal(size=len(levels)))
    return path


SHORT = ("--minimum-seconds", "5")
