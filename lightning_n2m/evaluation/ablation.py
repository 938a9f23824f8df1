"""The paper's ablations (figures 2 and 3) for any cascade: guidance, schedule, number of steps, sampler.

Beside them, the cascade as its config has it and as the paper samples it, all steps of table 7 taken.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from matplotlib.figure import Figure as Plot

from lightning_n2m.diffusion.sampler import Method
from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.metric import read_metrics

_SCHEDULES = {
    "waveform": {
        "generator": {"front": "waveform_generator", "back": "waveform_generator reversed"},
        "refiner": {"front": "waveform_cascader", "back": "waveform_cascader reversed"},
    },
    "spectrogram": {
        "generator": {
            "front": "spectrogram_generator_front_heavy",
            "back": "spectrogram_generator_back_heavy",
        },
        "refiner": {"front": "spectrogram_vocoder", "back": "spectrogram_vocoder reversed"},
    },
}
_PAPER = {
    "waveform": {"generator": "waveform_generator", "refiner": "waveform_cascader"},
    "spectrogram": {"generator": "spectrogram_generator", "refiner": "spectrogram_vocoder"},
}
_METHODS: tuple[Method, ...] = ("ancestral", "ddim", "dpm++2m", "sde-dpm++2m")


@dataclass(frozen=True)
class Variation:
    """One point of an ablation.

    Args:
        group: What is varied, for example ``generator guidance``.
        value: To what.
        options: Command-line options of ``test`` that set it.
    """

    group: str
    value: str
    options: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.group}-{self.value}".replace(" ", "-").replace("+", "p")


def variations(
    route: str, scales: Sequence[float], totals: Sequence[int], guided_refiner: bool
) -> list[Variation]:
    """All points: each setting is varied alone, the others stay as the config has them.

    Args:
        route: ``waveform`` or ``spectrogram``.
        scales: Guidance scales.
        totals: Numbers of steps.
        guided_refiner: Whether the refiner hears the prompt, without which it knows no guidance.
    """
    whole = [
        f"--model.{stage}.{option}"
        for stage, name in _PAPER[route].items()
        for option in (
            f"step_schedule={name}",
            f"num_steps={len(step_times(name)) - 1}",
            "reverse_schedule=false",
            "method=ancestral",
        )
    ]
    found = [
        Variation("sampling", what, (*options, "--evaluation.refiner_clips=0"))
        for what, options in {"config": (), "paper": whole}.items()
    ]
    for stage in ("generator", "refiner"):

        def vary(what: str, value: object, *options: str, stage: str = stage) -> None:
            # A refiner is also judged by itself, on real low-fidelity input.
            alone = "--evaluation.refiner_clips=16" if stage == "refiner" else "--evaluation.refiner_clips=0"
            chosen = tuple(f"--model.{stage}.{option}" for option in options)
            found.append(Variation(f"{stage} {what}", str(value), (*chosen, alone)))

        if stage == "generator" or guided_refiner:
            for scale in scales:
                vary("guidance", f"{scale:g}", f"guidance={scale:g}")
        for word, name in {**_SCHEDULES[route][stage], "uniform": "uniform"}.items():
            steps, _, turned = name.partition(" ")
            vary("schedule", word, f"step_schedule={steps}", f"reverse_schedule={str(bool(turned)).lower()}")
        for total in totals:
            vary("steps", total, f"num_steps={total}")
        for method in _METHODS:
            vary("sampler", method, f"method={method}")
    return found


def ablate(args: Sequence[str], test: Callable[[list[str]], object]) -> None:
    """Run every variation that is not there yet, and plot all of them.

    Args:
        args: ``-c CONFIG --output FOLDER`` and, if wanted, ``--scales``, ``--totals``, ``--groups``; all
            other options go to ``test``.
        test: Runs the command line of a test.

    Raises:
        InputError: if an option is missing or wrong.
    """
    options, rest = _parse(args)
    route, guided = _cascade(options.config)
    chosen = variations(route, options.scales, options.totals, guided)
    groups = {variation.group for variation in chosen}
    if unknown := [group for group in options.groups if group not in groups]:
        raise InputError(f"There is no ablation '{unknown[0]}'; choose of {', '.join(sorted(groups))}.")
    chosen = [v for v in chosen if not options.groups or v.group in options.groups]
    folder = Path(options.output)
    for number, variation in enumerate(chosen, start=1):
        place = folder / variation.folder
        if not (place / "evaluation.json").is_file():
            print(f"{number}/{len(chosen)}: {variation.group} {variation.value}", flush=True)
            test([
                "test", f"--config={options.config}", "--model.super_resolution=null",
                f"--evaluation.folder={place}", *variation.options, *rest,
            ])  # fmt: skip
        _plot(folder, [v for v in chosen if (folder / v.folder / "evaluation.json").is_file()])
    print(folder / "ablation.png")


def _parse(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    def numbers(kind: type) -> Callable[[str], list]:
        return lambda text: [kind(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(
        prog="python -m lightning_n2m ablate", description=ablate.__doc__, exit_on_error=False
    )
    parser.add_argument("-c", "--config", required=True, help="config of a cascade")
    parser.add_argument("--output", required=True, help="folder of the evaluations and plots")
    parser.add_argument("--scales", type=numbers(float), default=[1, 2, 5, 10, 15], help="guidance scales")
    parser.add_argument("--totals", type=numbers(int), default=[10, 20, 40, 80], help="numbers of steps")
    parser.add_argument(
        "--groups", type=numbers(str), default=[], help="only these, such as 'generator steps'"
    )

    def refuse(message: str) -> None:
        raise InputError(f"ablate: {message}; 'python -m lightning_n2m ablate --help' lists the options.")

    parser.error = refuse  # type: ignore[method-assign, assignment]
    try:
        return parser.parse_known_args(args)
    except argparse.ArgumentError as error:
        raise InputError(f"ablate: {error}.") from error


def _cascade(config: str) -> tuple[str, bool]:
    """Route of a cascade's config, and whether its refiner hears the prompt."""
    try:
        known = yaml.safe_load(Path(config).read_text(encoding="utf-8"))["model"]["init_args"]
        stage = Path(known["refiner"]["folder"]) / "config.yaml"
        kind = yaml.safe_load(stage.read_text(encoding="utf-8"))["model"]["class_path"]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as error:
        raise InputError(
            f"{config} is no config of a cascade ({error!r}); give one such as configs/cascade/waveform.yaml."
        ) from error
    cascader = kind.endswith("WaveformCascader")
    return ("waveform" if cascader else "spectrogram"), cascader


def _plot(folder: Path, done: Sequence[Variation]) -> None:
    """Distance against similarity, a panel a group, as in figure 2; and all numbers as JSON."""
    rows = []
    for variation in done:
        figures = {
            f.name.partition(": ")[2]: f for f in read_metrics(folder / variation.folder / "evaluation.json")
        }
        rows.append({
            "group": variation.group,
            "value": variation.value,
            **{name: None if math.isnan(f.value) else f.value for name, f in figures.items()},
        })  # fmt: skip
    (folder / "ablation.json").write_text(json.dumps(rows, indent=1), encoding="utf-8")
    groups = list(dict.fromkeys(row["group"] for row in rows))
    plot = Plot(figsize=(4 * len(groups), 3.2), layout="constrained")
    for axes, group in zip(plot.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        points = [row for row in rows if row["group"] == group]
        distance = next(name for name in points[0] if name.startswith("FAD") and "real" not in name)
        similar = next(name for name in points[0] if name.startswith("text-audio"))
        axes.plot([p[similar] for p in points], [p[distance] for p in points], "o-")
        for p in points:
            axes.annotate(p["value"], (p[similar], p[distance]))
        axes.set(title=group, xlabel=similar, ylabel=distance)
        axes.title.set_fontsize(9)
    plot.savefig(folder / "ablation.png", dpi=110)
