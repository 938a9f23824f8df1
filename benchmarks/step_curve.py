"""Quality against evaluations: a distilled spectrogram generator beside the samplers of its teacher.

Every point is the paper's evaluation (`n2m test`) of the spectrogram route with another sampling of the
generator; prompts, seeds and refiners are the same. A guided step of the teacher is two evaluations, a step
of the student one. The clips of a point are kept, so that an interrupted benchmark continues.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.music import ROOT, corpus
from benchmarks.result import Result
from benchmarks.sampling import PROMPT, SECONDS, fast_in_16_bits
from lightning_n2m.storage import write_atomic

TEACHER = ROOT / "pretrained/spectrogram_generator"
# Folder of the student's run or bundle, and number of prompts, of which few give noisy distances.
STUDENT = Path(os.environ.get("STUDENT", ROOT / "pretrained/spectrogram_generator_few"))
PROMPTS = int(os.environ.get("PROMPTS", "16"))
METRICS = {
    "FAD musicnn-MTT": False,
    "KAD musicnn-MTT": False,
    "FAD aisfx": False,
    "KAD aisfx": False,
    "tags of the prompt, mean AUC": True,
    "instrument families of the reference": True,
    "tempo within 8 %, up to octaves": True,
}


@dataclass(frozen=True)
class Point:
    """One sampling of the generator.

    Args:
        sampler: Name of the curve.
        folder: Folder of the generator.
        method: Sampler.
        steps: Number of steps.
        passes: Evaluations of the network in a step.
    """

    sampler: str
    folder: Path
    method: str
    steps: int
    passes: int

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one clip."""
        return self.steps * self.passes

    def options(self) -> list[str]:
        """Options of ``test`` and ``predict``."""
        values = {"folder": self.folder, "method": self.method, "num_steps": self.steps}
        return [f"--model.generator.{name}={value}" for name, value in values.items()]


REFERENCE = Point("teacher, ancestral", TEACHER, "ancestral", 50, 2)


def points() -> list[Point]:
    """The teacher at 4 to 100 evaluations by two samplers, the student at 1 to 16."""
    curve = [
        Point(f"teacher, {name}", TEACHER, method, steps, 2)
        for name, method in (("ancestral", "ancestral"), ("DPM-Solver++(2M)", "dpm++2m"))
        for steps in (2, 4, 8, 25, 50)
    ]
    return curve + [Point("student", STUDENT, "few", steps, 1) for steps in (1, 2, 4, 8, 16)]


def measure_curve() -> Iterable[Result]:
    """Rows of the results table; also writes table and plot into ``build/steps``."""
    rows = [evaluate(point) for point in points()]
    folder = ROOT / "build/steps"
    write_atomic(folder / "curve.json", json.dumps(rows, indent=1))
    write_atomic(folder / "curve.md", markdown(rows))
    plot(rows, folder / "curve.png")
    print(markdown(rows), file=sys.stderr)
    by_point = {(row["sampler"], row["evaluations"]): row for row in rows}
    teacher = by_point[REFERENCE.sampler, REFERENCE.evaluations]
    for evaluations, target in ((8, 0.95), (4, 0.85)):
        student = by_point["student", evaluations]
        for name, higher in METRICS.items():
            if student.get(name) and teacher.get(name):
                question = f"steps: student at {evaluations} evaluations, {name}, {PROMPTS} prompts"
                peer = f"its teacher, ancestral, {REFERENCE.evaluations} evaluations"
                yield Result(question, student[name], teacher[name], peer, "value", target, higher)
    slow, fast = seconds(REFERENCE), seconds(Point("student", STUDENT, "few", 8, 1))
    question = f"steps: text to {SECONDS:g} s, student at 8 evaluations"
    yield Result(question, SECONDS / fast, SECONDS / slow, "its teacher in the same run", "audio-s/s", 4)


def evaluate(point: Point) -> dict[str, Any]:
    """Metric values of one point; the clips of an interrupted run are used again."""
    built = corpus()
    identity = hashlib.sha256(json.dumps([str(point), PROMPTS]).encode())
    for path in sorted(point.folder.glob("*.safetensors")) + sorted(
        point.folder.glob("checkpoints/last.ckpt")
    ):
        identity.update(path.read_bytes())
    folder = ROOT / "build/steps" / f"curve-{identity.hexdigest()[:12]}"
    command: list[str | Path] = [
        sys.executable, "-m", "lightning_n2m", "test", "-c", "configs/cascade/spectrogram.yaml",
        *point.options(),
        f"--data.evaluation_set.shards={built / 'shards'}", f"--data.evaluation_set.clips={PROMPTS}",
        f"--evaluation.folder={folder}", f"--evaluation.cache={built / 'cache'}",
        "--evaluation.refiner_clips=0", "--evaluation.one_seed_clips=0",
        f"--trainer.precision={'bf16-mixed' if fast_in_16_bits() else '32-true'}",
    ]  # fmt: skip
    if not (folder / "evaluation.json").is_file():
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    values = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    named = {row["name"].removeprefix("spectrogram: "): row["value"] for row in values}
    measured = {name: named[name] for name in METRICS if named.get(name) is not None}
    return {"sampler": point.sampler, "steps": point.steps, "evaluations": point.evaluations, **measured}


def seconds(point: Point) -> float:
    """Seconds from a prompt to 24 kHz audio in a process of its own, without loading."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.step_curve",
        str(point.folder),
        point.method,
        str(point.steps),
    ]
    return float(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout)


def _time(folder: str, method: Any, steps: int) -> float:
    import torch
    import yaml

    from lightning_n2m.seeding import PerSampleGenerator
    from lightning_n2m.stages.stage_run import StageRun

    config = yaml.safe_load((ROOT / "configs/cascade/spectrogram.yaml").read_text())["model"]["init_args"]
    stages = [StageRun(folder=folder, method=method, num_steps=steps).load()]
    stages += [StageRun(**config[name]).load() for name in ("refiner", "super_resolution")]
    assert stages[0].text is not None
    stages[0].text.encode([PROMPT], torch.device("cpu"))  # loads the encoder
    signal, began = None, time.perf_counter()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_in_16_bits()):
        for stage in stages:
            signal = stage.generate([PROMPT], SECONDS, PerSampleGenerator("0", [0]), signal)
    return time.perf_counter() - began


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """One table: a row for each point."""
    head = ["generator", "steps", "evaluations", *METRICS]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        values = [f"{row[name]:.4g}" if name in row else "" for name in METRICS]
        cells = [row["sampler"], str(row["steps"]), str(row["evaluations"]), *values]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """One panel for each metric that was measured, evaluations on a logarithmic axis."""
    from matplotlib.figure import Figure

    measured = [name for name in METRICS if any(name in row for row in rows)]
    figure = Figure(figsize=(3.2 * max(1, len(measured)), 2.8), layout="constrained")
    panels = figure.subplots(1, max(1, len(measured)), squeeze=False)[0]
    for axes, name in zip(panels, measured, strict=False):
        for sampler in dict.fromkeys(row["sampler"] for row in rows):
            own = [row for row in rows if row["sampler"] == sampler and name in row]
            axes.plot([row["evaluations"] for row in own], [row[name] for row in own], "o-", label=sampler)
        axes.set(xscale="log", xlabel="evaluations", title=name)
        axes.title.set_fontsize(8)
    panels[0].legend(fontsize=7)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    os.chdir(ROOT)
    print(_time(sys.argv[1], sys.argv[2], int(sys.argv[3])))
