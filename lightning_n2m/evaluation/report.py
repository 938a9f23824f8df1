"""The report of an evaluation: metric values on their scales, plots, spectrograms, and a page of audio."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure as Plot

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.evaluation.excerpts import Excerpts
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.metric_suite import EvaluationResult
from lightning_n2m.html_page import escape, image, page, player, printable, table
from lightning_n2m.storage import write_atomic

SPECTROGRAMS = 16
_TITLE_LETTERS = 90


def write_report(folder: Path, title: str, result: EvaluationResult, excerpts: Excerpts) -> Path:
    """Write ``index.html``, ``audio.html`` and the plots.

    Args:
        folder: Folder of the evaluation.
        title: Title of the page.
        result: Metric values, tag scores and notes.
        excerpts: Generated clips and references.

    Returns:
        The path of ``index.html``.
    """
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    plot_scales(result.metrics).savefig(plots / "scales.png", dpi=110)
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(note)}</p>" for note in result.notes)]
    parts += [
        '<p><a href="audio.html">Audio of every prompt</a>, generated and reference.</p>',
        *_value_table(result.metrics),
        _plot("scales.png", "Metric values on their scales: 0 is the lower bound, 1 the upper bound"),
    ]
    if any(row.name.partition(": ")[2].startswith("FAD ") for row in result.metrics):
        plot_distances(result.metrics).savefig(plots / "distances.png", dpi=110)
        parts.append(_plot("distances.png", "Distances of generated clips and of degraded references"))
    if result.tags[0].tags:
        plot_tags(result).savefig(plots / "tags.png", dpi=110)
        parts.append(_plot("tags.png", "How well the tagger recognises tags that prompts name"))
    # Small enough for a repository, beside a card.
    spectrograms = plot_spectrograms(excerpts)
    spectrograms.savefig(plots / "spectrograms.jpg", dpi=70, pil_kwargs={"quality": 70})
    parts.append(_plot("spectrograms.jpg", "Left: generated; right: the reference of the same prompt"))
    if result.memorisation is not None:
        parts += _memorisation_table(result.memorisation, excerpts)
    write_atomic(folder / "audio.html", page("Audio", _audio_table(excerpts)))
    write_atomic(folder / "index.html", page(title, parts))
    return folder / "index.html"


def plot_scales(metrics: Sequence[MetricValue]) -> Plot:
    """Each metric value between its lower bound (0) and upper bound (1)."""
    rows = [row for row in metrics if math.isfinite(row.share())][::-1]
    plot = Plot(figsize=(9, 1 + 0.3 * len(rows)), layout="constrained")
    axes = plot.add_subplot()
    for place, row in enumerate(rows):
        color = "tab:green" if row.higher_is_better else "tab:blue"
        axes.barh(place, min(max(row.share(), -0.2), 1.4), color=color)
    axes.set_yticks(range(len(rows)), [_plain(row.name) for row in rows], fontsize=7)
    for edge in (0, 1):
        axes.axvline(edge, color="black", linewidth=0.8)
    label = "0: lower bound, 1: upper bound (green: higher is better)"
    axes.set(xlabel=label, xlim=(-0.25, 1.45))
    return plot


def plot_distances(metrics: Sequence[MetricValue]) -> Plot:
    """Fréchet and kernel distances of generated clips and degraded references, one panel per embedder."""
    panels: dict[str, dict[str, float]] = {}
    for row in metrics:
        name = row.name.partition(": ")[2]
        if name.startswith(("FAD ", "KAD ")):
            distance, _, kind = name.partition(", ")
            bars = panels.setdefault(distance, {"reference": row.lower_bound, "white noise": row.upper_bound})
            bars[kind or "generated"] = row.value
    plot = Plot(figsize=(4.5 * len(panels), 3), layout="constrained")
    for axes, (name, values) in zip(
        plot.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        order = sorted(
            (what for what in values if math.isfinite(values[what])), key=lambda what: values[what]
        )
        colors = ["tab:orange" if what == "generated" else "tab:blue" for what in order]
        axes.barh(order, [values[what] for what in order], color=colors)
        axes.set_title(_plain(name), fontsize=9)
        axes.tick_params(labelsize=7)
    return plot


def plot_tags(result: EvaluationResult) -> Plot:
    """AUC of each tag that prompts name, generated clips beside references."""
    generated, references = (score.tags for score in result.tags)
    plot = Plot(figsize=(9, 3), layout="constrained")
    axes = plot.add_subplot()
    places = np.arange(len(generated))
    axes.bar(places - 0.2, [value for _, value in generated.values()], 0.4, label="generated")
    axes.bar(places + 0.2, [references[tag][1] for tag in generated], 0.4, label="reference")
    axes.axhline(0.5, color="black", linewidth=0.8)
    labels = [f"{tag} ({count})" for tag, (count, _) in generated.items()]
    axes.set_xticks(places, labels, rotation=40, fontsize=7)
    axes.set(ylabel="AUC", ylim=(0, 1))
    axes.legend(fontsize=7)
    return plot


def plot_spectrograms(excerpts: Excerpts, count: int = SPECTROGRAMS) -> Plot:
    """Log-mels of the first prompts, generated clips beside references."""
    items = excerpts.items[:count]
    plot = Plot(figsize=(12, 1.5 * len(items)), layout="constrained")
    settings = MelSettings()
    clips = zip(excerpts.generated(), excerpts.references(), strict=False)
    rows = plot.subplots(len(items), 2, squeeze=False)
    for axes, item, pair in zip(rows, items, itertools.islice(clips, len(items)), strict=True):
        for panel, audio in zip(axes, pair, strict=True):
            mel = log_mel(audio[None], settings)[0].numpy()
            panel.imshow(mel, origin="lower", aspect="auto", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
        axes[0].set_title(_plain(" ".join(item.prompt.split())[:_TITLE_LETTERS]), fontsize=8, loc="left")
    return plot


def _plain(text: str) -> str:
    """Text without control characters, and that matplotlib does not read as mathematics."""
    return printable(text).replace("$", r"\$")


def _value_table(metrics: Sequence[MetricValue]) -> list[str]:
    """Table of all metric values, and the commands that measured them."""
    head = ("metric", "value", "lower bound", "upper bound", "better", "n", "evaluator")
    rows = [
        [
            escape(row.name),
            *(_number(number) for number in (row.value, row.lower_bound, row.upper_bound)),
            "higher" if row.higher_is_better else "lower",
            str(row.n),
            f"<small>{escape(row.evaluator)}</small>",
        ]
        for row in metrics
    ]
    commands = sorted({row.command for row in metrics})
    return [
        table(head, rows, numbers=(1, 2, 3, 5)),
        "<p>Measured by</p>",
        *(f"<pre>{escape(command)}</pre>" for command in commands),
    ]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown"


def _plot(name: str, caption: str) -> str:
    return f"<h2>{escape(caption)}</h2>{image(f'plots/{name}', caption)}"


def _memorisation_table(result: MemorisationResult, excerpts: Excerpts) -> list[str]:
    """The clips that are nearest to a training clip, flagged ones first."""
    order = sorted(range(len(result.matches)), key=lambda number: -result.matches[number].embedding)
    others = [number for number in order if number not in result.flagged]
    rows = []
    for number in [*result.flagged, *others][: max(5, len(result.flagged))]:
        match, nearest = result.matches[number], result.nearest[number]
        rows.append([
            "flagged" if number in result.flagged else "",
            escape(excerpts.items[number].prompt),
            f"{match.embedding:.3f}",
            f"{match.waveform:.3f}",
            escape(nearest.title or nearest.key),
        ])  # fmt: skip
    by_embedding, by_waveform = result.embedding, result.waveform
    head = ("flag", "prompt", "embedding", "waveform", "nearest training clip")
    return [
        "<h2>Memorisation check</h2>",
        f"<p>{len(result.flagged)} of {len(result.matches)} clips are flagged. Thresholds are calibrated on "
        f"known duplicates and held-out recordings: by embedding {by_embedding.value:.3f} (held-out "
        f"recordings reach {by_embedding.held_out:.3f}, duplicates {by_embedding.duplicates:.3f}), by "
        f"waveform {by_waveform.value:.3f} ({by_waveform.held_out:.3f}, {by_waveform.duplicates:.3f}).</p>",
        table(head, rows, numbers=(2, 3)),
    ]


def _audio_table(excerpts: Excerpts) -> list[str]:
    """Players of all clips, which load on demand."""
    rows = [
        [
            escape(item.prompt),
            player(f"generated/{item.key}.flac", f"generated: {item.prompt}"),
            player(f"references/{item.key}.flac", f"reference: {item.prompt}"),
        ]
        for item in excerpts.items
    ]
    return ["<h1>Audio</h1>", table(("prompt", "generated", "reference"), rows)]
