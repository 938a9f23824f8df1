"""The readable report of an evaluation: figures on their scales, plots, pictures, and a page of audio."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Plot
from torch import Tensor

from lightning_n2m.audio.io import write
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.evaluation.memorisation import Repetition
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.metric_suite import ClipPairs, EvaluationResult
from lightning_n2m.evaluation.reference_embeddings import RATE
from lightning_n2m.html_page import escape, image, page, player, table
from lightning_n2m.storage import write_atomic

PICTURES = 16


def write_report(
    folder: Path, title: str, judgement: EvaluationResult, clips: ClipPairs, repetition: Repetition | None
) -> Path:
    """Write ``index.html``, ``audio.html``, the plots and the real clips.

    Returns:
        The path of ``index.html``.
    """
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    scales(judgement.figures).savefig(plots / "figures.png", dpi=110)
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(note)}</p>" for note in judgement.notes)]
    parts += [
        '<p><a href="audio.html">SampleLogger</a> to every prompt, generated and real.</p>',
        _table(judgement.figures),
        _image("figures.png", "Every figure on its scale: 0 is the floor, 1 the ceiling."),
    ]
    if judgement.ladder:
        ladder(judgement.ladder).savefig(plots / "ladder.png", dpi=110)
        parts.append(_image("ladder.png", "Fréchet distance of real clips under known damage, and of ours."))
    if judgement.tags is not None and judgement.tags[0].tags:
        words(judgement).savefig(plots / "tags.png", dpi=110)
        parts.append(_image("tags.png", "Tags that prompts name: how well they are heard."))
    # Small enough to lie in a repository, beside a card.
    pictures(clips).savefig(plots / "spectrograms.jpg", dpi=70, pil_kwargs={"quality": 70})
    parts.append(_image("spectrograms.jpg", "Left: generated; right: the real clip of the same prompt."))
    if repetition is not None:
        parts.append(_repetition(repetition, clips))
    write_atomic(folder / "audio.html", _audio(folder, clips))
    path = folder / "index.html"
    write_atomic(path, page(title, parts))
    return path


def scales(figures: Sequence[MetricValue]) -> Plot:
    """Each figure between its floor (0) and ceiling (1)."""
    shown = [figure for figure in figures if math.isfinite(figure.share())]
    plot = Plot(figsize=(9, 1 + 0.3 * len(shown)), layout="constrained")
    axes = plot.add_subplot()
    for row, figure in enumerate(reversed(shown)):
        color = "tab:green" if figure.higher_is_better else "tab:blue"
        axes.barh(row, min(max(figure.share(), -0.2), 1.4), color=color)
    axes.set_yticks(range(len(shown)), [figure.name for figure in reversed(shown)], fontsize=7)
    for edge in (0, 1):
        axes.axvline(edge, color="black", linewidth=0.8)
    axes.set(xlabel="floor 0, ceiling 1 (green: higher is better; blue: lower is better)", xlim=(-0.25, 1.45))
    return plot


def ladder(distances: dict[str, dict[str, float]]) -> Plot:
    """Fréchet distances of known damage, a panel an embedder."""
    plot = Plot(figsize=(4.5 * len(distances), 3), layout="constrained")
    for axes, (name, values) in zip(
        plot.subplots(1, len(distances), squeeze=False)[0], distances.items(), strict=True
    ):
        order = sorted(values, key=lambda what: values[what])
        colors = ["tab:orange" if what == "generated" else "tab:blue" for what in order]
        axes.barh(order, [values[what] for what in order], color=colors)
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=7)
    return plot


def words(judgement: EvaluationResult) -> Plot:
    """AUC of each named tag, generated beside real."""
    assert judgement.tags is not None
    made, real = (score.tags for score in judgement.tags)
    plot = Plot(figsize=(9, 3), layout="constrained")
    axes = plot.add_subplot()
    places = np.arange(len(made))
    axes.bar(places - 0.2, [value for _, value in made.values()], 0.4, label="generated")
    axes.bar(places + 0.2, [real[tag][1] for tag in made], 0.4, label="real")
    axes.axhline(0.5, color="black", linewidth=0.8)
    axes.set_xticks(places, [f"{tag} ({count})" for tag, (count, _) in made.items()], rotation=40, fontsize=7)
    axes.set(ylabel="AUC", ylim=(0, 1))
    axes.legend(fontsize=7)
    return plot


def pictures(clips: ClipPairs, count: int = PICTURES) -> Plot:
    """Log-mels of the first prompts, generated beside real."""
    count = min(count, len(clips.items))
    plot = Plot(figsize=(12, 1.5 * count), layout="constrained")
    settings = MelSettings()
    for row, axes in enumerate(plot.subplots(count, 2, squeeze=False)):
        for panel, audio in zip(axes, (clips.made[row], clips.real[row]), strict=True):
            mel = log_mel(audio[None], settings)[0].numpy()
            panel.imshow(mel, origin="lower", aspect="auto", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
        axes[0].set_title(clips.items[row].prompt, fontsize=8, loc="left")
    return plot


def _table(figures: Sequence[MetricValue]) -> str:
    head = ("figure", "value", "floor", "ceiling", "better", "n", "judge")
    rows = [
        (
            escape(f.name),
            *(f"{value:.4g}" for value in (f.value, f.floor, f.ceiling)),
            "higher" if f.higher_is_better else "lower",
            str(f.n),
            f"<small>{escape(f.judge)}</small>",
        )
        for f in figures
    ]
    commands = sorted({f.command for f in figures})
    shown = "".join(f"<pre>{escape(command)}</pre>" for command in commands)
    return f"{table(head, rows, numbers=(1, 2, 3, 5))}<p>Measured by</p>{shown}"


def _image(name: str, caption: str) -> str:
    return f"<h2>{escape(caption)}</h2>{image(f'plots/{name}', caption)}"


def _repetition(found: Repetition, clips: ClipPairs) -> str:
    """The clips that are nearest to a training clip, flagged ones marked."""
    order = sorted(range(len(found.matches)), key=lambda i: -found.matches[i].embedding)
    first = [*found.flagged, *(i for i in order if i not in found.flagged)][: max(5, len(found.flagged))]
    head = ("flag", "prompt", "by ear", "waveform", "nearest training clip")
    rows = [
        (
            "FLAGGED" if i in found.flagged else "",
            escape(clips.items[i].prompt),
            f"{found.matches[i].embedding:.3f}",
            f"{found.matches[i].waveform:.3f}",
            escape(found.nearest[i].title or found.nearest[i].key),
        )
        for i in first
    ]
    return (
        "<h2>Memorisation check</h2>"
        f"<p>{len(found.flagged)} of {len(found.matches)} clips are flagged. Thresholds, calibrated on real "
        f"duplicates and on music of held-out tracks: by ear {found.embedding.value:.3f} (held-out music "
        f"reaches {found.embedding.strangers:.3f}, duplicates {found.embedding.duplicates:.3f}), by waveform "
        f"{found.waveform.value:.3f} ({found.waveform.strangers:.3f}, {found.waveform.duplicates:.3f}).</p>"
        f"{table(head, rows, numbers=(2, 3))}"
    )


def _audio(folder: Path, clips: ClipPairs) -> str:
    """The page of audio; the middle of the real clips is written beside the generated ones."""
    (folder / "real").mkdir(exist_ok=True)
    rows: list[Any] = []
    for item, audio in zip(clips.items, clips.real, strict=True):
        _write_once(folder / "real" / f"{item.key}.flac", audio)
        players = [player(f"{kind}/{item.key}.flac", f"{kind} clip") for kind in ("generated", "real")]
        rows.append([escape(item.prompt), *players])
    return page("Clips", ["<h1>Clips</h1>", table(("prompt", "generated", "real"), rows)])


def _write_once(path: Path, audio: Tensor) -> None:
    if not path.is_file():
        write(path, audio, RATE)
