"""The card of a bundle in the form of model hubs: a README.md whose front matter machines read."""

from __future__ import annotations

import itertools
import math
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError, printable
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.remote.hub import HubPlace
from lightning_n2m.stages.bundle_weights import WEIGHTS, read_header, shapes_of
from lightning_n2m.storage import write_atomic
from lightning_n2m.yaml_reader import read_yaml

CARD = "README.md"
_TAGS = ("text-to-music", "music", "music-generation", "diffusion", "noise2music", "lightning_n2m")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,63}")
_FRONT_MATTER = re.compile(r"\A---\n.*?^---\n", re.DOTALL | re.MULTILINE)
# Class of a stage: what it does, its place in a cascade, and the recipe of its route.
STAGES = {
    "WaveformGenerator": ("Text to 3.2 kHz audio", "generator", "waveform"),
    "SpectrogramGenerator": ("Text to a log-mel spectrogram", "generator", "spectrogram"),
    "WaveformCascader": ("3.2 kHz audio to 16 kHz audio", "refiner", "waveform"),
    "SpectrogramVocoder": ("A log-mel spectrogram to 16 kHz audio", "refiner", "spectrogram"),
    "SuperResolution": ("16 kHz audio to 24 kHz audio", "super_resolution", "spectrogram"),
}


@dataclass(frozen=True)
class CardFacts:
    """What the weights themselves do not say.

    Args:
        licence: Identifier of the licence as the hub spells it, ``cc-by-sa-3.0``.
        datasets: Data sets that the stage was trained on, by name.
        base_model: Bundle that the training started from, ``hf://org/name`` or ``org/name``.
        evaluation: Metric values, of this stage and others.

    Raises:
        InputError: if the licence or the base model has another form.
    """

    licence: str = "unknown"
    datasets: Sequence[str] = ()
    base_model: str | None = None
    evaluation: Sequence[MetricValue] = ()

    def __post_init__(self) -> None:
        """Check the form of licence and base model."""
        if not _LICENCE.fullmatch(self.licence):
            raise InputError(
                f"--license {self.licence[:80]}: give an identifier as the hub spells it, such as cc-by-4.0."
            )
        if self.base_model is not None:
            self.base_repository()

    def base_repository(self) -> str | None:
        """Repository of the base model, ``org/name``."""
        if self.base_model is None:
            return None
        return HubPlace.parse(f"hf://{self.base_model.removeprefix('hf://')}").repository


def write_card(folder: Path, config: dict[str, Any], facts: CardFacts) -> Path:
    """Write the card of a bundle. The text of a card that is there stays; its front matter is replaced.

    Args:
        folder: The bundle.
        config: Its ``model`` section.
        facts: Licence, data, base model and metrics.

    Returns:
        Path of the card.

    Raises:
        InputError: if the weights are damaged.
    """
    name = str(config["class_path"]).rpartition(".")[2]
    metrics = _metrics(name, facts.evaluation)
    front_matter = _front_matter(folder, name, facts, metrics)
    path = folder / CARD
    if path.is_file():
        text = _FRONT_MATTER.sub("", path.read_text(encoding="utf-8"))
    else:
        text = _text(folder, name, facts, metrics)
    write_atomic(path, f"---\n{front_matter}---\n{text}")
    return path


def has_front_matter(path: Path) -> bool:
    """Whether a card begins with front matter."""
    return path.is_file() and _FRONT_MATTER.match(path.read_text(encoding="utf-8")) is not None


def base_model_of(run: Path) -> str | None:
    """The hub bundle that a run started from (``--weights``), by the config of the run."""
    config = read_yaml(run / "config.yaml")
    weights = config.get("weights") if isinstance(config, dict) else None
    return weights if isinstance(weights, str) and weights.startswith("hf://") else None


def _front_matter(folder: Path, name: str, facts: CardFacts, metrics: Sequence[MetricValue]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [
        EvalResult(
            task_type="text-to-audio",
            dataset_type="lightning_n2m",
            dataset_name=_dataset(row),
            metric_type=re.sub(r"[^a-z0-9]+", "_", row.name.lower()).strip("_"),
            metric_name=row.name,
            metric_value=row.value,
            metric_args={
                "n": row.n,
                "evaluator": row.evaluator,
                "higher_is_better": row.higher_is_better,
                **{
                    key: value
                    for key, value in (("lower_bound", row.lower_bound), ("upper_bound", row.upper_bound))
                    if math.isfinite(value)
                },
            },
        )
        for row in metrics
    ]
    data = ModelCardData(
        license=facts.licence,
        library_name="lightning_n2m",
        pipeline_tag="text-to-audio" if name in STAGES else "feature-extraction",
        tags=[*_TAGS, _words(name).lower().replace(" ", "-")],
        datasets=[printable(item) for item in facts.datasets] or None,
        base_model=facts.base_repository(),
        model_name=folder.resolve().name if results else None,
        eval_results=results or None,
    )
    return str(data.to_yaml()).strip() + "\n"


def _metrics(name: str, metrics: Sequence[MetricValue]) -> list[MetricValue]:
    """Metric values of one stage: generators have those of their route, refiners those on ground truth."""
    rows = [row for row in metrics if math.isfinite(row.value)]
    if name.endswith("Generator"):
        route = STAGES[name][2] if name in STAGES else ""
        return [
            row
            for row in rows
            if row.name.startswith(f"{route}: ")
            and " on ground-truth input" not in row.name
            and ", reference +" not in row.name  # scores of degraded recordings, for comparison
        ]
    # Both routes measure the super-resolution; its values are the same.
    unique = {
        row.name.partition(": ")[2]: row for row in rows if f": {name} on ground-truth input" in row.name
    }
    return list(unique.values())


def _dataset(row: MetricValue) -> str:
    """Evaluation set that the command of a metric value names."""
    words = shlex.split(row.command)
    for option, value in itertools.pairwise(words):
        if option == "--data.evaluation_set":
            return value.rpartition(".")[2]
    return "Starter"


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _text(folder: Path, name: str, facts: CardFacts, metrics: Sequence[MetricValue]) -> str:
    shapes = shapes_of(read_header(folder / WEIGHTS)).values()
    parameters = sum(math.prod(shape) for shape in shapes) / 1e6
    task = STAGES[name][0] if name in STAGES else "A joint music-text model"
    lines = [
        f"# {_words(name)}",
        f"{task}, {parameters:.3g}M parameters: a bundle of `lightning_n2m`, an implementation of "
        "[Noise2Music](https://arxiv.org/abs/2302.03917). `config.yaml` holds its settings, "
        "`weights.safetensors` its averaged weights.",
    ]
    if name in STAGES:
        _, role, route = STAGES[name]
        lines.append(
            "```sh\n"
            f"n2m predict -c configs/cascade/{route}.yaml --model.{role}.folder hf://ORG/NAME "
            '--data.prompt "a slow waltz for solo piano"\n```'
        )
    if metrics:
        rows = [
            f"| {row.name} | {row.value:.4g} | {_bound(row.lower_bound)} | {_bound(row.upper_bound)} "
            f"| {'higher' if row.higher_is_better else 'lower'} | {row.n} | {row.evaluator} |"
            for row in metrics
        ]
        head = (
            "| metric | value | lower bound | upper bound | better | n | evaluation model |\n|" + 7 * "---|"
        )
        lines += ["## Metrics", "\n".join([head, *(row.replace("\n", " ") for row in rows)])]
        lines += [f"Measured by `{command}`." for command in sorted({row.command for row in metrics})]
    data = ", ".join(map(printable, facts.datasets)) or "not stated"
    lines += ["## Data and licence", f"Training data: {data}. Licence: {facts.licence}."]
    if facts.base_model:
        lines.append(f"The training started from {facts.base_model}.")
    return "\n" + "\n\n".join(lines) + "\n"


def _bound(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else ""
