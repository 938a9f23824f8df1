"""The paper's ablations (figures 2 and 3) for any cascade: guidance, schedule, number of steps, sampler.

The interval of guidance and autoguidance are further settings. Settings are chosen on prompts of the
validation split that the evaluation set does not hold.

Beside them, the cascade as its config has it and as in the paper: step lists of table 7, sampler, gamma and
guidance of table 3.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import yaml
from matplotlib.figure import Figure as Plot

from lightning_n2m.diffusion.sampler import Method
from lightning_n2m.diffusion.steps import step_times
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.metric import read_metrics
from lightning_n2m.storage import write_atomic

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


@dataclass(frozen=True)
class PaperSampling:
    """Sampling of one stage in the paper (tables 3 and 7).

    Args:
        step_schedule: Step list.
        gamma: Stochasticity of the ancestral sampler.
        guidance: Guidance scale; none for a stage without text.
    """

    step_schedule: str
    gamma: float
    guidance: float | None


PAPER = {
    "waveform": {
        "generator": PaperSampling("waveform_generator", 0, 10),
        "refiner": PaperSampling("waveform_cascader", 1, 5),
    },
    "spectrogram": {
        "generator": PaperSampling("spectrogram_generator", 0, 5),
        "refiner": PaperSampling("spectrogram_vocoder", 0, None),
    },
}
# All samplers but that of distilled stages, which other stages do not have.
_METHODS: tuple[Method, ...] = tuple(method for method in get_args(Method) if method != "few")


@dataclass(frozen=True)
class Variation:
    """One point of an ablation.

    Args:
        group: Name of the varied setting, for example ``generator guidance``.
        value: Its value.
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
    route: str,
    scales: Sequence[float],
    totals: Sequence[int],
    guided_refiner: bool,
    intervals: Sequence[tuple[float, float]] = (),
    weak: str | None = None,
) -> list[Variation]:
    """All points: one setting is varied at a time, the others stay as the config has them.

    Args:
        route: ``waveform`` or ``spectrogram``.
        scales: Guidance scales.
        totals: Numbers of steps.
        guided_refiner: Whether the refiner takes the prompt, without which it has no guidance.
        intervals: Diffusion times (from, to) with guidance, for the generator.
        weak: Folder of a weaker generator for autoguidance, at every guidance scale; null for none.
    """
    as_in_paper = [
        option for stage, sampling in PAPER[route].items() for option in _paper_options(stage, sampling)
    ]
    no_refiner = "--evaluation.refiner_clips=0"
    points = [
        Variation("sampling", value, (*options, no_refiner))
        for value, options in {"config": (), "paper": as_in_paper}.items()
    ]
    for stage in ("generator", "refiner"):
        # A refiner is also evaluated on ground-truth input.
        clips = "--evaluation.refiner_clips=16" if stage == "refiner" else no_refiner
        for name, value, options in _stage_variations(route, stage, scales, totals, guided_refiner):
            chosen = tuple(f"--model.{stage}.{option}" for option in options)
            points.append(Variation(f"{stage} {name}", value, (*chosen, clips)))
    for start, end in intervals:
        option = f"--model.generator.guidance_interval=[{start:g},{end:g}]"
        points.append(Variation("generator interval", f"{start:g} to {end:g}", (option, no_refiner)))
    for scale in scales if weak is not None else ():
        guided = (f"--model.generator.weak={weak}", f"--model.generator.guidance={scale:g}")
        points.append(Variation("generator autoguidance", f"{scale:g}", (*guided, no_refiner)))
    return points


def _paper_options(stage: str, sampling: PaperSampling) -> list[str]:
    options = [
        f"--model.{stage}.step_schedule={sampling.step_schedule}",
        f"--model.{stage}.num_steps={len(step_times(sampling.step_schedule)) - 1}",
        f"--model.{stage}.reverse_schedule=false",
        f"--model.{stage}.method=ancestral",
        f"--model.{stage}.gamma={sampling.gamma:g}",
    ]
    if sampling.guidance is not None:
        options.append(f"--model.{stage}.guidance={sampling.guidance:g}")
    return options


def _stage_variations(
    route: str, stage: str, scales: Sequence[float], totals: Sequence[int], guided_refiner: bool
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Setting, value and options of each variation of a stage."""
    if stage == "generator" or guided_refiner:
        for scale in scales:
            yield "guidance", f"{scale:g}", (f"guidance={scale:g}",)
    for value, name in {**_SCHEDULES[route][stage], "uniform": "uniform"}.items():
        schedule, _, reverse = name.partition(" ")
        options = (f"step_schedule={schedule}", f"reverse_schedule={str(bool(reverse)).lower()}")
        yield "schedule", value, options
    for total in totals:
        yield "steps", str(total), (f"num_steps={total}",)
    for method in _METHODS:
        yield "sampler", method, (f"method={method}",)


def ablate(args: Sequence[str], test: Callable[[list[str]], object]) -> None:
    """Run every variation that has not been run yet, and plot all of them.

    Args:
        args: ``-c CONFIG --output FOLDER`` and, if wanted, ``--scales``, ``--totals``, ``--intervals``,
            ``--weak``, ``--groups``; all other options go to ``test``.
        test: Runs the command line of a test.

    Raises:
        InputError: if an option is missing or wrong.
    """
    options, rest = _parse(args)
    route, guided = _cascade(options.config)
    chosen = variations(route, options.scales, options.totals, guided, options.intervals, options.weak)
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
                "--evaluation.one_seed_clips=0", f"--evaluation.folder={place}",
                *_prompts_for_choices(options.config), *variation.options, *rest,
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
        "--intervals",
        type=lambda text: [_interval(part) for part in text.split(",")],
        default=[(0, 1), (0.1, 0.9), (0.2, 0.8)],
        help="diffusion times with guidance, such as 0:1,0.2:0.8",
    )
    parser.add_argument("--weak", help="folder of an early checkpoint of the generator, for autoguidance")
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


def _interval(text: str) -> tuple[float, float]:
    start, _, end = text.partition(":")
    return float(start), float(end)


def _prompts_for_choices(config: str) -> list[str]:
    """The option with which the starter's evaluation set gives validation prompts that it does not hold."""
    data = yaml.safe_load(Path(config).read_text(encoding="utf-8")).get("data") or {}
    evaluation_set = (data.get("init_args") or {}).get("evaluation_set") or {}
    if not str(evaluation_set.get("class_path", "")).endswith(".Starter"):
        return []
    return ["--data.evaluation_set.for_choices=true"]


def _cascade(config: str) -> tuple[str, bool]:
    """Route of a cascade's config, and whether its refiner takes the prompt."""
    try:
        known = yaml.safe_load(Path(config).read_text(encoding="utf-8"))["model"]["init_args"]
        stage = Path(known["refiner"]["folder"]) / "config.yaml"
        kind = yaml.safe_load(stage.read_text(encoding="utf-8"))["model"]["class_path"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError, yaml.YAMLError) as error:
        raise InputError(
            f"{config} is not a config of a cascade ({error!r}); give one such as "
            "configs/cascade/waveform.yaml."
        ) from error
    cascader = kind.endswith("WaveformCascader")
    return ("waveform" if cascader else "spectrogram"), cascader


def _plot(folder: Path, done: Sequence[Variation]) -> None:
    """Distance against similarity, one panel per group, as in figure 2; and all values as JSON."""
    rows = []
    for variation in done:
        metrics = read_metrics(folder / variation.folder / "evaluation.json")
        values = {row.name.partition(": ")[2]: row.value for row in metrics if math.isfinite(row.value)}
        rows.append({"group": variation.group, "value": variation.value, **values})
    write_atomic(folder / "ablation.json", json.dumps(rows, indent=1))
    groups = list(dict.fromkeys(row["group"] for row in rows))
    plot = Plot(figsize=(4 * len(groups), 3.2), layout="constrained")
    for axes, group in zip(plot.subplots(1, len(groups), squeeze=False)[0], groups, strict=True):
        points = [row for row in rows if row["group"] == group]
        # Few clips give fewer metrics; a panel shows the points that have both.
        distance = next((name for name in points[0] if name.startswith("FAD")), "FAD")
        similar = next((name for name in points[0] if name.startswith("text-audio")), "text-audio similarity")
        points = [row for row in points if distance in row and similar in row]
        axes.plot([p[similar] for p in points], [p[distance] for p in points], "o-")
        for p in points:
            axes.annotate(p["value"], (p[similar], p[distance]))
        axes.set(title=group, xlabel=similar, ylabel=distance)
        axes.title.set_fontsize(9)
    plot.savefig(folder / "ablation.png", dpi=110)
