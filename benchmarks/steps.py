"""Quality against evaluations: a few-step student beside the samplers of its teacher.

Every point of a generator is the paper's evaluation (`n2m test`) of its route with another sampling of the
generator; prompts, seeds and refiners are the same, in the waveform route the cascader's student. Every point
of a refiner is its evaluation on the same real music. A guided step of a teacher is two evaluations, a step
of a student one. What an interrupted benchmark has finished is used again. At the end, the time from a prompt
to music with all students.

The students are those in `pretrained`, or that in the folder STUDENT (an environment variable); PROMPTS is
the number of prompts, and of clips for a refiner. The benchmark builds the starter's corpus if it is missing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.music import ROOT, corpus
from benchmarks.result import Result
from benchmarks.sampling import SECONDS, fast_in_16_bits, seconds_of
from lightning_n2m.diffusion.steps import STEP_LISTS
from lightning_n2m.evaluation.clip_features import RATE
from lightning_n2m.evaluation.embedders import load_embedder
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.evaluation.reference_embeddings import middle
from lightning_n2m.evaluation.stft import stft_distance
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.bundle import read_config
from lightning_n2m.stages.stage_run import StageRun
from lightning_n2m.storage import write_atomic

FOLDER = ROOT / "build/steps"
# Whether a higher value is better, by metric.
OF_GENERATORS = {
    "FAD musicnn-MTT": False,
    "KAD musicnn-MTT": False,
    "FAD aisfx": False,
    "KAD aisfx": False,
    "tags of the prompt, mean AUC": True,
    "instrument families of the reference": True,
    "tempo within 8 %, up to octaves": True,
}
OF_REFINERS = {"STFT distance": False, "FAD musicnn-MTT": False, "FAD aisfx": False}
ROUTES = {"spectrogram_generator": "spectrogram", "waveform_generator": "waveform"}
# The teacher of this refiner would take most of the time, and the generators are compared by the same one.
REFINERS = {"waveform": ["-c", "configs/cascade/few/waveform_cascader.yaml"]}
# Evaluations of a student, and the share of its teacher's quality that it is to keep there.
TARGETS = {
    "spectrogram_generator": {8: 0.95, 4: 0.85},
    "waveform_generator": {8: 0.95, 4: 0.85},
    "spectrogram_vocoder": {2: 0.95},
    "waveform_cascader": {4: 0.95},
    "super_resolution": {2: 0.95},
}
SEED, BATCH = 0, 8
CLIPS = int(os.environ.get("PROMPTS", "16"))  # distances of few are noisy


def measure() -> Iterable[Result]:
    students = sorted((ROOT / "pretrained").glob("*_few"))
    if "STUDENT" in os.environ:
        students = [Path(os.environ["STUDENT"]).resolve()]
    for student in students:
        yield from measure_curve(student, CLIPS)
    for route in ROUTES.values():
        slow, fast = (SECONDS / seconds_of(route, few) for few in (False, True))
        question = f"steps: text to {SECONDS:g} s by students, {route} route"
        yield Result(question, fast, slow, "their teachers in the same run", "audio-s/s", 4)


@dataclass(frozen=True)
class Point:
    """One sampling of a stage.

    Args:
        sampler: Name of the curve.
        folder: Folder of the stage.
        method: Sampler; that of the stage when null.
        steps: Number of steps; that of the stage when null.
        passes: Evaluations of the network in a step.
    """

    sampler: str
    folder: Path
    method: Any = None
    steps: int | None = None
    passes: int = 1

    def __post_init__(self) -> None:
        if self.steps is None:
            steps = read_config(self.folder)["init_args"]["sampling"]["num_steps"]
            object.__setattr__(self, "steps", steps)

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one clip."""
        assert self.steps is not None
        return self.steps * self.passes

    @property
    def stage_run(self) -> StageRun:
        """The stage with this sampling, by its own step list unless that needs more steps."""
        own = read_config(self.folder)["init_args"]["sampling"]["step_schedule"]
        is_short = self.method != "few" and self.evaluations < len(STEP_LISTS[own])
        return StageRun(
            folder=str(self.folder),
            method=self.method,
            num_steps=self.steps,
            step_schedule="uniform" if is_short else None,
        )

    def work_folder(self, clips: int) -> Path:
        """Folder for what this point generates: another one for other weights or settings."""
        identity = hashlib.sha256(json.dumps([self.method, self.steps, clips]).encode())
        files = [*self.folder.glob("*.safetensors"), *self.folder.glob("checkpoints/last.ckpt")]
        for path in [self.folder / "config.yaml", *sorted(files)]:
            identity.update(path.read_bytes())
        return FOLDER / f"curve-{identity.hexdigest()[:12]}"


def stage_of(student: Path) -> str:
    """Name of the stage in `pretrained` that a student was distilled from."""
    name = read_config(student)["class_path"].rpartition(".")[2]
    return re.sub("(?<=[a-z])(?=[A-Z])", "_", name).lower()


def points(student: Path) -> list[Point]:
    """The teacher by several samplers, the reference first, and the student at 1 to 16 evaluations."""
    stage = stage_of(student)
    teacher = ROOT / "pretrained" / stage
    few = [Point("student", student, "few", steps) for steps in (1, 2, 4, 8, 16)]
    if stage in ROUTES:
        curves = (("ancestral", "ancestral", (50,)), ("DPM-Solver++(2M)", "dpm++2m", (8, 4, 2)))
        return [
            Point(f"teacher, {name}", teacher, method, steps, 2)
            for name, method, numbers in curves
            for steps in numbers
        ] + few
    second_order = [Point("teacher, DPM-Solver++(2M)", teacher, "dpm++2m", steps) for steps in (1, 2, 4, 8)]
    return [Point("teacher, as exported", teacher), *second_order, *few[:-1]]


def measure_curve(student: Path, clips: int) -> Iterable[Result]:
    """Rows of the results table; also writes table and plot into ``build/steps``.

    Args:
        student: Folder of a student's run or bundle.
        clips: Number of prompts, or of clips of real music.
    """
    stage = stage_of(student)
    evaluate: Callable[[Point, int], dict[str, float]] = evaluate_refined
    metrics = OF_REFINERS
    if stage in ROUTES:
        evaluate, metrics = evaluate_route, OF_GENERATORS
    rows: list[dict[str, Any]] = []
    for point in points(student):
        values = evaluate(point, clips)
        named = {name: values[name] for name in metrics if name in values}
        rows.append(
            {"sampler": point.sampler, "steps": point.steps, "evaluations": point.evaluations, **named}
        )
    write_atomic(FOLDER / f"{stage}.json", json.dumps(rows, indent=1))
    write_atomic(FOLDER / f"{stage}.md", markdown(rows, list(metrics)))
    plot(rows, list(metrics), FOLDER / f"{stage}.png")
    print(f"{stage}, {clips} clips\n{markdown(rows, list(metrics))}", file=sys.stderr)
    reference = rows[0]
    by_evaluations = {row["evaluations"]: row for row in rows if row["sampler"] == "student"}
    for evaluations, target in TARGETS[stage].items():
        for name, higher in metrics.items():
            ours, peer = by_evaluations[evaluations].get(name), reference.get(name)
            if ours and peer and ours > 0 and peer > 0:
                question = f"steps: {stage}, student at {evaluations} evaluations, {name}, {clips} clips"
                peer_name = f"its {reference['sampler']}, {reference['evaluations']} evaluations"
                yield Result(question, ours, peer, peer_name, "value", target, higher)


def evaluate_route(point: Point, clips: int) -> dict[str, float]:
    """Metric values of a generator's route."""
    folder, built, route = point.work_folder(clips), corpus(), ROUTES[stage_of(point.folder)]
    command: list[str | Path] = [
        sys.executable, "-m", "lightning_n2m", "test", "-c", f"configs/cascade/{route}.yaml",
        *REFINERS.get(route, []),
        f"--model.generator.folder={point.folder}", f"--model.generator.method={point.method}",
        f"--model.generator.num_steps={point.steps}",
        f"--data.evaluation_set.shards={built / 'shards'}", f"--data.evaluation_set.clips={clips}",
        f"--evaluation.folder={folder}", f"--evaluation.cache={built / 'cache'}",
        "--evaluation.refiner_clips=0", "--evaluation.one_seed_clips=0",
        f"--trainer.precision={'bf16-mixed' if fast_in_16_bits() else '32-true'}",
    ]  # fmt: skip
    if not (folder / "evaluation.json").is_file():
        subprocess.run(command, cwd=ROOT, check=True, stdout=sys.stderr)
    rows = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    return {row["name"].removeprefix(f"{route}: "): row["value"] for row in rows}


def evaluate_refined(point: Point, clips: int) -> dict[str, float]:
    """Distances between a refiner's output on real music and that music."""
    result = point.work_folder(clips) / "values.json"
    result.parent.mkdir(parents=True, exist_ok=True)
    if not result.is_file():
        stage = point.stage_run.load()
        assert stage.conditioner is not None
        rate = stage.sample_rate
        prompts, music = real_music(rate, clips)
        outputs = []
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast_in_16_bits()):
            for part in torch.arange(clips).split(BATCH):
                signal = stage.conditioner.degrade(music[part])
                rng = PerSampleGenerator(SEED, part.tolist())
                texts = [prompts[i] for i in part.tolist()]
                outputs.append(stage.generate(texts, music.shape[-1] / rate, rng, signal).float())
        output = torch.cat(outputs)
        values = {"STFT distance": float(stft_distance(output, music).mean())}
        # The tagger's input ends at 8 kHz, where the band that super-resolution adds begins.
        for name in ("musicnn", "aisfx")[rate > RATE :]:
            embedder = load_embedder(name)
            generated = torch.cat([embedder.embed(x, rate) for x in output.split(BATCH)])
            distance = frechet_distance(generated, embedded_music(name, rate, clips), 0)
            values[f"FAD {embedder.name}"] = distance.value
        write_atomic(result, json.dumps(values))
    return json.loads(result.read_text(encoding="utf-8"))


@functools.cache
def real_music(rate: int, clips: int) -> tuple[list[str], Tensor]:
    """Prompts and audio ``(clips, 1, t)`` of held-out music, the middle of each piece."""
    source = Starter(str(corpus() / "shards"), clips)
    items = source.items()
    audio = {key: middle(clip, rate, source.seconds) for key, clip in source.references(items, rate)}
    return [item.prompt for item in items], torch.stack([audio[item.key] for item in items])


@functools.cache
def embedded_music(name: str, rate: int, clips: int) -> Tensor:
    """Embeddings of `real_music`."""
    embedder = load_embedder(name)
    return torch.cat([embedder.embed(x, rate) for x in real_music(rate, clips)[1].split(BATCH)])


def markdown(rows: Sequence[dict[str, Any]], metrics: Sequence[str]) -> str:
    """One table: a row for each point."""
    measured = [name for name in metrics if any(name in row for row in rows)]
    head = ["sampling", "steps", "evaluations", *measured]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        values = [f"{row[name]:.4g}" if name in row else "" for name in measured]
        cells = [row["sampler"], str(row["steps"]), str(row["evaluations"]), *values]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: Sequence[dict[str, Any]], metrics: Sequence[str], path: Path) -> None:
    """One panel for each metric that was measured, evaluations on a logarithmic axis."""
    from matplotlib.figure import Figure

    measured = [name for name in metrics if any(name in row for row in rows)]
    columns = max(1, min(4, len(measured)))
    lines = -(-max(1, len(measured)) // columns)
    figure = Figure(figsize=(3 * columns, 2.6 * lines), layout="constrained")
    panels = iter(figure.subplots(lines, columns, squeeze=False).flat)
    for name, axes in zip(measured, panels, strict=False):
        for sampler in dict.fromkeys(row["sampler"] for row in rows):
            own = sorted(
                (row["evaluations"], row[name]) for row in rows if row["sampler"] == sampler and name in row
            )
            axes.plot(*zip(*own, strict=True), "o-", label=sampler)
        axes.set(xscale="log", xlabel="evaluations", title=name)
        axes.title.set_fontsize(8)
    for axes in panels:  # those that are left over
        axes.set_axis_off()
    figure.axes[0].legend(fontsize=7)
    figure.savefig(path, dpi=90)
