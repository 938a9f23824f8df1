"""Options of the trainer at equal compute.

`python -m benchmarks.training_options --shards SHARDS --output RUNS` trains one recipe with each overlay
of `configs/training`. The time of a step is measured for each variant before any is trained, so that the
load of the machine is alike, and each gets as many steps as fit into the same processor time (not elapsed
time: other programs may run). Other programs slow the memory down as well, so that processor times of a busy
machine differ by a fifth: use ``--steps`` there. Compared is the unweighted loss at fixed diffusion times on
the validation split, with averaged weights: it does not depend on the loss weight or the times of an option.
A lower loss does not always mean better sound: evaluate what wins with `test` before a long training.

Variants that have been run are not run again, and an interrupted training resumes. Everything after ``--``
goes to `fit`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lightning_n2m.cli.main import main as n2m
from lightning_n2m.errors import InputError
from lightning_n2m.stages.base import Stage
from lightning_n2m.storage import write_atomic

ROOT = Path(__file__).resolve().parents[1]
OVERLAYS = ROOT / "configs" / "training"
BASELINE = "baseline"
PROBE_STEPS = 12  # Of the training that measures the time of a step.


@dataclass(frozen=True)
class Run:
    """Result of one training.

    Args:
        variant: Name of the overlay, or ``baseline``; several overlays are joined by ``+``.
        seed: Seed of the training.
        seconds_per_step: Processor time of a step.
        steps: Steps of the training.
        losses: Validation loss by diffusion time; ``mean`` over all times.
    """

    variant: str
    seed: int
    seconds_per_step: float
    steps: int
    losses: dict[str, float]


def parse(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The runner's options, and those of `fit`."""
    cut = list(arguments).index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_options", description=__doc__)
    parser.add_argument("--recipe", default=str(ROOT / "configs/starter/spectrogram_generator.yaml"))
    parser.add_argument("--shards", required=True)
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--variants", default=f"{BASELINE},muon,stratified,min_snr,transport")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--seconds", type=float, default=900, help="processor time of one training")
    parser.add_argument("--steps", type=int, help="steps of each training, instead of --seconds")
    return parser.parse_args(arguments[:cut]), list(arguments[cut + 1 :])


def overlays(variant: str) -> list[str]:
    """Options of `fit` for a variant.

    Raises:
        InputError: if there is no such overlay.
    """
    options = []
    for name in variant.split("+"):
        path = OVERLAYS / f"{name}.yaml"
        if name == BASELINE:
            continue
        if not path.is_file():
            known = ", ".join(sorted(path.stem for path in OVERLAYS.glob("*.yaml")))
            raise InputError(f"There is no variant {name}; choose from {BASELINE}, {known}.")
        options.append(f"--config={path}")
    return options


def train(
    options: argparse.Namespace, variant: str, seed: int, steps: int, folder: Path, rest: list[str]
) -> list[float]:
    """Train; the processor time of each step but the first, with its loading, in seconds."""
    starts: list[float] = []
    original = Stage.on_train_batch_start

    def on_train_batch_start(self: Stage, batch: Any, batch_idx: int) -> None:
        starts.append(time.process_time())
        original(self, batch, batch_idx)

    with mock.patch.object(Stage, "on_train_batch_start", on_train_batch_start):
        n2m([
            "fit", f"--config={options.recipe}", *overlays(variant), *rest,
            f"--data.shards={options.shards}", "--data.num_workers=0", f"--data.seed={seed}",
            f"--model.seed={seed}", f"--seed_everything={seed}", f"--trainer.default_root_dir={folder}",
            "--ckpt_path=last",
            f"--trainer.max_steps={steps}", f"--model.optimisation.total_steps={steps}",
            f"--trainer.val_check_interval={steps}", f"--checkpoint.every_n_train_steps={steps}",
            "--samples.clips=0",
        ])  # fmt: skip
    return [after - before for before, after in itertools.pairwise(starts)]


def seconds_per_step(options: argparse.Namespace, variant: str, rest: list[str]) -> float:
    """Median processor time of a step of a variant, measured once."""
    measured = options.output / variant / "seconds_per_step"
    if not measured.is_file():
        probe = options.output / variant / "probe"
        shutil.rmtree(probe, ignore_errors=True)  # all of its steps are timed
        times = train(options, variant, 0, PROBE_STEPS, probe, rest)
        write_atomic(measured, str(statistics.median(times)))
    return float(measured.read_text(encoding="utf-8"))


def run(options: argparse.Namespace, variant: str, seed: int, rest: list[str]) -> Run:
    """One variant with one seed."""
    folder = options.output / variant / str(seed)
    result = folder / "result.json"
    if result.is_file():
        return Run(**json.loads(result.read_text(encoding="utf-8")))
    seconds = seconds_per_step(options, variant, rest)
    steps = options.steps or max(1, int(options.seconds / seconds))
    train(options, variant, seed, steps, folder, rest)
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("val/loss")]
    losses = {
        tag.removeprefix("val/loss").removeprefix("_t") or "mean": events.Tensors(tag)[
            -1
        ].tensor_proto.float_val[0]
        for tag in tags
    }
    finished = Run(variant, seed, seconds, steps, losses)
    write_atomic(result, json.dumps(asdict(finished), indent=1))
    return finished


def table(runs: Sequence[Run]) -> str:
    """Markdown table: one row for each variant, with the difference to the baseline of the same seeds."""
    baseline = {run.seed: run for run in runs if run.variant == BASELINE}
    times = sorted({name for run in runs for name in run.losses} - {"mean"})
    lines = [
        "| variant | seeds | s/step | steps | val/loss | difference | "
        + " | ".join(f"t = {t}" for t in times)
        + " |",
        "|---" * (6 + len(times)) + "|",
    ]
    for variant in dict.fromkeys(run.variant for run in runs):
        own = [run for run in runs if run.variant == variant]
        mean = statistics.mean(run.losses["mean"] for run in own)
        pairs = [
            run.losses["mean"] - baseline[run.seed].losses["mean"] for run in own if run.seed in baseline
        ]
        difference = "" if variant == BASELINE or not pairs else f"{statistics.mean(pairs):+.4f}"
        if difference and len(pairs) > 1:
            difference += f" ± {statistics.stdev(pairs) / len(pairs) ** 0.5:.4f}"
        cells = [
            variant, str(len(own)), f"{own[0].seconds_per_step:.3f}", f"{own[0].steps:,}", f"{mean:.4f}",
            difference, *(f"{statistics.mean(run.losses[t] for run in own):.4f}" for t in times),
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> int:
    """Run what is missing and print the table after each training.

    Returns:
        0; 2 if an option is wrong.
    """
    options, rest = parse(arguments)
    variants = options.variants.split(",")
    try:
        for variant in variants:
            overlays(variant)
        for variant in variants:
            seconds_per_step(options, variant, rest)
        runs: list[Run] = []
        for seed in map(int, options.seeds.split(",")):
            for variant in variants:
                runs.append(run(options, variant, seed, rest))
                text = table(runs)
                write_atomic(options.output / "table.md", text + "\n")
                print(text, flush=True)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
