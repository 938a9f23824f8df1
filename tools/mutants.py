"""Test of the tests: apply known mutations one at a time in a copy of the tree; the tests must fail.

python tools/mutants.py [NAME ...]     exit code 1 if a mutation survives
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BASE = "lightning_n2m/stages/base.py"
SAMPLING = "lightning_n2m/stages/sampling.py"
STAGE_TESTS = tuple(f"tests/stages/test_{module}.py" for module in ("base", "sampling", "cascaders"))
RECIPE_TESTS = ("tests/test_paper_recipes.py",)


@dataclass(frozen=True)
class Mutation:
    """A change of one place, and the tests that must notice it.

    Args:
        name: What is wrong after the change.
        path: File that is changed.
        old: Text that is replaced; it occurs once in the file.
        new: Replacement.
        tests: Test files, run until the first failure.
    """

    name: str
    path: str
    old: str
    new: str
    tests: tuple[str, ...] = STAGE_TESTS


CODE = (
    Mutation(
        "conditioning is never augmented",
        BASE,
        "conditions = self.conditioner.augmented(signal, length, schedule, rng)",
        "conditions = self.conditioner.for_sampling(signal, length, 0.0, schedule, rng)",
    ),
    Mutation(
        "text is never dropped",
        BASE,
        "text_dropped = rng.uniform() < self.text_dropout",
        "text_dropped = rng.uniform() < 0",
    ),
    Mutation(
        "text is dropped per batch",
        BASE,
        "text_dropped = rng.uniform() < self.text_dropout",
        "text_dropped = (rng.uniform() < self.text_dropout)[:1]",
    ),
    Mutation(
        "guidance halves are swapped",
        SAMPLING,
        "conditional_x0, unconditional_x0 = x0.chunk(2)",
        "unconditional_x0, conditional_x0 = x0.chunk(2)",
    ),
    Mutation(
        "the unconditional branch has the prompt",
        SAMPLING,
        "unconditional = conditions.drop_text().drop_numbers()",
        "unconditional = conditions",
    ),
)


def recipe(stage: str, old: str, new: str) -> Mutation:
    """A wrong value in a recipe of configs/paper."""
    name = f"configs/paper/{stage}.yaml: {new.strip()}"
    return Mutation(name, f"configs/paper/{stage}.yaml", old, new, RECIPE_TESTS)


RECIPES = (
    recipe("waveform_generator", "base_channels: 256", "base_channels: 128"),
    recipe("waveform_generator", "multipliers: [1, 1, 2, 3, 4, 4]", "multipliers: [1, 1, 2, 4, 4, 4]"),
    recipe("waveform_generator", "guidance: {scale: 10.0}", "guidance: {scale: 5.0}"),
    recipe("waveform_generator", "schedule.CosineSchedule", "schedule.LinearSchedule"),
    recipe("waveform_generator", "max_steps: 1600000", "max_steps: 160000"),
    recipe("waveform_generator", "heads: 8", "heads: 4"),
    recipe("waveform_cascader", "gamma: 1", "gamma: 0"),
    recipe("waveform_cascader", "t_max: 0.5", "t_max: 1.0"),
    recipe("waveform_cascader", "blur_std: [0.1, 5.0]", "blur_std: [0.1, 0.5]"),
    recipe("waveform_cascader", "blocks: [3, 3, 4, 6, 6]", "blocks: [3, 3, 4, 4, 6]"),
    recipe("waveform_cascader", "warmup_steps: 10000", "warmup_steps: 1000"),
    recipe("spectrogram_generator", "weight: sigma", "weight: simplified"),
    recipe("spectrogram_generator", "max_tokens: 96", "max_tokens: 64"),
    recipe("spectrogram_generator", "kernel_size: 9", "kernel_size: 7"),
    recipe("spectrogram_generator", "strides: [4, 3, 2, 2, 2]", "strides: [4, 2, 3, 2, 2]"),
    recipe("spectrogram_vocoder", "num_steps: 100\n", "num_steps: 1000\n"),
    recipe("spectrogram_vocoder", "step_schedule: spectrogram_vocoder", "step_schedule: super_resolution"),
    recipe("spectrogram_vocoder", "ema: {decay: 0.9999}", "ema: {decay: 0.999}"),
    recipe("super_resolution", "effective_batch: 4096", "effective_batch: 2048"),
    recipe("super_resolution", "learning_rate: 1.0e-4", "learning_rate: 1.0e-3"),
)
MUTATIONS = CODE + RECIPES


def apply(mutation: Mutation, tree: Path) -> str:
    """Apply a mutation.

    Args:
        mutation: The mutation.
        tree: Copy of the project.

    Returns:
        The file's text before.

    Raises:
        ValueError: if the text to replace does not occur exactly once.
    """
    path = tree / mutation.path
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(
            f"{mutation.path} holds {text.count(mutation.old)} times, not once: {mutation.old.strip()}"
        )
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    return text


def is_killed(mutation: Mutation, tree: Path) -> bool:
    """Run the tests of a mutation in the copy; they must fail."""
    before = apply(mutation, tree)
    try:
        return run_tests(mutation.tests, tree) == 1
    finally:
        (tree / mutation.path).write_text(before, encoding="utf-8")


def run_tests(tests: tuple[str, ...], tree: Path) -> int:
    """Exit code of pytest in the copy: 0 if the tests pass, 1 if one fails."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True).returncode


def main(names: list[str]) -> int:
    """Run the mutations whose names contain one of the given words, or all."""
    chosen = [item for item in MUTATIONS if not names or any(name in item.name for name in names)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(
            ".git", ".venv", "build", "outputs", "__pycache__", "pretrained", "site"
        )
        shutil.copytree(ROOT, tree, ignore=ignored, symlinks=True)
        every_test = tuple(dict.fromkeys(test for item in chosen for test in item.tests))
        if run_tests(every_test, tree) != 0:
            print("The tests fail without any mutation; repair them first.", file=sys.stderr)
            return 1
        survivors = 0
        for mutation in chosen:
            start = time.monotonic()
            killed = is_killed(mutation, tree)
            survivors += not killed
            state = "killed  " if killed else "SURVIVED"
            print(f"{state} {time.monotonic() - start:5.1f} s  {mutation.name}", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutations killed.")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
