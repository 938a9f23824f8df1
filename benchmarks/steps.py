"""Fewer steps: what the starter's sampling keeps of the quality that the paper's steps give the same weights.

The paper takes 1,000 steps of the generator and 100 of the vocoder by its ancestral sampler (tables 3 and
7). The evaluation judges both on the same prompts, too few for the figures by themselves: only the ratios
count. With 50 + 5 steps all figures keep 95 % but aiSFX, which keeps 94.9; with 40 + 4 aiSFX and the
similarity had kept 91 and 90 (earlier weights). Eight steps of the vocoder instead of four brought aiSFX no
nearer on 48 prompts, and a sampler of second order in the generator did, so that it is the generator's
steps that cost it. It takes the starter's corpus, which is built where it is missing; what was generated
stays generated.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from benchmarks.music import ROOT, corpus
from benchmarks.result import Result
from benchmarks.sampling import fast_in_16_bits

PROMPTS = 16
STAGES = {"spectrogram_generator": 1000, "spectrogram_vocoder": 100}
# Figures of the evaluation, by name, unit, and whether more is better.
FIGURES = (
    ("FAD musicnn-MTT", "distance", False),
    ("FAD aisfx", "distance", False),
    ("text-audio similarity, tags of musicnn-MTT", "cosine", True),
    ("tags of the prompt, mean AUC", "area", True),
    ("instrument families heard, of those heard in the real clip", "share", True),
)


def measure() -> Iterable[Result]:
    peer = f"the paper's {' + '.join(map(str, STAGES.values()))} steps, ancestral"
    ours = sum(_steps(stage) for stage in STAGES)
    question = "steps: evaluations of generator and vocoder, guidance not counted"
    yield Result(question, ours, sum(STAGES.values()), peer, "steps", 20, False)
    config, paper = _judged()
    for name, unit, higher in FIGURES:
        if config[name] is None or paper[name] is None:
            continue  # too few prompts name a thing
        question = f"steps: {name}, spectrogram route, {PROMPTS} prompts"
        yield Result(question, config[name], paper[name], peer, unit, 0.95, higher)


def _steps(stage: str) -> int:
    config = yaml.safe_load((ROOT / f"pretrained/{stage}/config.yaml").read_text())
    return int(config["model"]["init_args"]["sampling"]["num_steps"])


def _judged() -> tuple[dict[str, Any], dict[str, Any]]:
    """Figures of the cascade as its config has it, and as the paper samples."""
    built = corpus()
    # What was judged counts only for the same weights, the same sampling and as many prompts.
    known = hashlib.sha256(str(PROMPTS).encode())
    for file in itertools.product(STAGES, ("config.yaml", "weights.safetensors")):
        known.update((ROOT / "pretrained").joinpath(*file).read_bytes())
    folder = ROOT / "build/steps" / known.hexdigest()[:12]
    command: list[str | Path] = [
        sys.executable, "-m", "lightning_n2m", "ablate", "--config", "configs/cascade/spectrogram.yaml",
        "--output", folder, "--groups", "sampling", f"--data.evaluation_set.shards={built / 'shards'}",
        f"--data.evaluation_set.clips={PROMPTS}", f"--evaluation.cache={built / 'heard'}",
        f"--trainer.precision={'bf16-mixed' if fast_in_16_bits() else '32-true'}",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    rows = {row["value"]: row for row in json.loads((folder / "ablation.json").read_text(encoding="utf-8"))}
    return rows["config"], rows["paper"]
