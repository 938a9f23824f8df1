"""Fewer steps: quality of the starter's sampling relative to the paper's sampling of the same weights.

The paper takes 1,000 steps of the generator and 100 of the vocoder by its ancestral sampler (tables 3 and 7).
Both are evaluated on the same prompts; these are too few for absolute values, so only ratios are reported.
With earlier weights and 50 + 5 steps all metrics kept 95 % except FAD aiSFX (94.9); with 40 + 4 steps aiSFX
and the similarity kept 91 and 90. Eight vocoder steps instead of four did not improve aiSFX on 48 prompts,
and a second-order sampler in the generator did: the loss comes from the generator's steps.

The benchmark needs the starter's corpus and builds it if it is missing. Generated clips are reused.
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
# Metrics by name, unit, and whether a higher value is better.
METRICS = (
    ("FAD musicnn-MTT", "distance", False),
    ("KAD musicnn-MTT", "distance", False),
    ("FAD aisfx", "distance", False),
    ("KAD aisfx", "distance", False),
    ("text-audio similarity, tags of musicnn-MTT", "cosine", True),
    ("tags of the prompt, mean AUC", "area", True),
    ("instrument families of the reference", "share", True),
)


def measure() -> Iterable[Result]:
    peer = f"the paper's {' + '.join(map(str, STAGES.values()))} steps, ancestral"
    steps = sum(_steps(stage) for stage in STAGES)
    question = "steps: evaluations of generator and vocoder, guidance not counted"
    yield Result(question, steps, sum(STAGES.values()), peer, "steps", 20, False)
    config, paper = _evaluate()
    for name, unit, higher in METRICS:
        if config.get(name) is None or paper.get(name) is None:
            continue  # too few prompts for this metric
        question = f"steps: {name}, spectrogram route, {PROMPTS} prompts"
        yield Result(question, config[name], paper[name], peer, unit, 0.95, higher)


def _steps(stage: str) -> int:
    config = yaml.safe_load((ROOT / f"pretrained/{stage}/config.yaml").read_text())
    return int(config["model"]["init_args"]["sampling"]["num_steps"])


def _evaluate() -> tuple[dict[str, Any], dict[str, Any]]:
    """Metric values of the cascade as its config has it, and as the paper samples."""
    built = corpus()
    # Results are reused only for the same weights, sampling and number of prompts.
    identity = hashlib.sha256(str(PROMPTS).encode())
    for file in itertools.product(STAGES, ("config.yaml", "weights.safetensors")):
        identity.update((ROOT / "pretrained").joinpath(*file).read_bytes())
    folder = ROOT / "build/paper_steps" / identity.hexdigest()[:12]
    command: list[str | Path] = [
        sys.executable, "-m", "lightning_n2m", "ablate", "--config", "configs/cascade/spectrogram.yaml",
        "--output", folder, "--groups", "sampling", f"--data.evaluation_set.shards={built / 'shards'}",
        f"--data.evaluation_set.clips={PROMPTS}", f"--evaluation.cache={built / 'cache'}",
        f"--trainer.precision={'bf16-mixed' if fast_in_16_bits() else '32-true'}",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    rows = {row["value"]: row for row in json.loads((folder / "ablation.json").read_text(encoding="utf-8"))}
    return rows["config"], rows["paper"]
