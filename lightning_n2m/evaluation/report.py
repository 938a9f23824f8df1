"""The report of an evaluation: metric values on their scales, spectrograms, and a page of audio."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure as Plot

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.evaluation.excerpts import Excerpts
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.metric_suite import EvaluationResult
from lightning_n2m.html_page import bar, bars, cards, escape, image, page, player, printable, table
from lightning_n2m.storage import write_atomic

SPECTROGRAMS = 16
_TITLE_LETTERS = 90


def write_report(folder: Path, title: str, result: EvaluationResult, excerpts: Excerpts) -> Path:
    """Write ``index.html``, ``audio.html`` and ``plots/spectrograms.jpg``.

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
    parts = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(note)}</p>" for note in result.notes)]
    parts += [
        '<p><a href="audio.html">Audio of every prompt</a>, generated and reference.</p>',
        *_value_table(result.metrics),
        *_distance_bars(result.metrics),
        *_tag_table(result),
    ]
    # Small enough for a repository, beside a card.
    spectrograms = plot_spectrograms(excerpts)
    spectrograms.savefig(plots / "spectrograms.jpg", dpi=70, pil_kwargs={"quality": 70})
    alt = "Log-mel spectrograms of the first prompts, generated on the left, reference on the right"
    parts += ["<h2>Spectrograms</h2>", f"<p>{alt}.</p>", image("plots/spectrograms.jpg", alt, is_wide=True)]
    if result.memorisation is not None:
        parts += _memorisation_table(result.memorisation, excerpts)
    write_atomic(folder / "audio.html", page("Audio of every prompt", _audio_cards(excerpts)))
    write_atomic(folder / "index.html", page(title, parts))
    return folder / "index.html"


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
    head = ("metric", "value", "scale", "lower bound", "upper bound", "better", "n", "evaluator")
    rows = [
        [
            escape(row.name),
            _number(row.value),
            _scale(row),
            _number(row.lower_bound),
            _number(row.upper_bound),
            "higher" if row.higher_is_better else "lower",
            str(row.n),
            f"<small>{escape(row.evaluator)}</small>",
        ]
        for row in metrics
    ]
    commands = sorted({row.command for row in metrics})
    return [
        "<h2>Metric values</h2>",
        "<p>Scale: the place of the value between its lower bound (0 %) and its upper bound (100 %).</p>",
        table(head, rows, numbers=(1, 3, 4, 5, 6)),
        "<p>Measured by</p>",
        *(f"<pre>{escape(command)}</pre>" for command in commands),
    ]


def _scale(row: MetricValue) -> str:
    share = row.share()
    if not math.isfinite(share):
        return "unknown"
    return f'{100 * share:.0f} %<span class="bar" aria-hidden="true">{bar(share)}</span>'


def _distance_bars(metrics: Sequence[MetricValue]) -> list[str]:
    """Fréchet and kernel distances beside those of degraded references, the smallest first."""
    charts: dict[str, dict[str, float]] = {}
    for row in metrics:
        name = row.name.partition(": ")[2]
        if name.startswith(("FAD ", "KAD ")):
            distance, _, kind = name.partition(", ")
            values = charts.setdefault(
                distance, {"reference": row.lower_bound, "white noise": row.upper_bound}
            )
            values[kind or "generated"] = row.value
    parts = []
    for distance, values in charts.items():
        finite = sorted((value, what) for what, value in values.items() if math.isfinite(value))
        rows = [(what, value, f"{value:.4g}") for value, what in finite]
        parts += [f"<h2>{escape(distance)}</h2>", bars(("clips", "distance"), rows)]
    return parts


def _tag_table(result: EvaluationResult) -> list[str]:
    """How well the tagger recognises tags that prompts name, the best first."""
    generated, references = (score.tags for score in result.tags)
    if not generated:
        return []
    order = sorted(generated, key=lambda tag: -generated[tag][1])
    rows = [
        [escape(tag), str(generated[tag][0]), f"{generated[tag][1]:.2f}", f"{references[tag][1]:.2f}"]
        for tag in order
    ]
    head = ("tag", "prompts that name it", "AUC, generated", "AUC, reference")
    return ["<h2>Tags of the prompts</h2>", table(head, rows, numbers=(1, 2, 3))]


def _number(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "unknown"


def _memorisation_table(result: MemorisationResult, excerpts: Excerpts) -> list[str]:
    """The clips that are nearest to a training clip, flagged ones first."""
    order = sorted(range(len(result.matches)), key=lambda number: -result.matches[number].embedding)
    others = [number for number in order if number not in result.flagged]
    rows = []
    for number in [*result.flagged, *others][: max(5, len(result.flagged))]:
        match, nearest = result.matches[number], result.nearest[number]
        rows.append([
            escape(excerpts.items[number].prompt),
            "flagged" if number in result.flagged else "no",
            f"{match.embedding:.3f}",
            f"{match.waveform:.3f}",
            escape(nearest.title or nearest.key),
        ])  # fmt: skip
    by_embedding, by_waveform = result.embedding, result.waveform
    head = ("prompt", "flagged", "embedding", "waveform", "nearest training clip")
    return [
        "<h2>Memorisation check</h2>",
        f"<p>{len(result.flagged)} of {len(result.matches)} clips are flagged. Thresholds are calibrated on "
        f"known duplicates and held-out recordings: by embedding {by_embedding.value:.3f} (held-out "
        f"recordings reach {by_embedding.held_out:.3f}, duplicates {by_embedding.duplicates:.3f}), by "
        f"waveform {by_waveform.value:.3f} ({by_waveform.held_out:.3f}, {by_waveform.duplicates:.3f}).</p>",
        table(head, rows, numbers=(1, 2, 3)),
    ]


def _audio_cards(excerpts: Excerpts) -> list[str]:
    """Players of all clips, which load on demand, in the alphabetical order of the prompts."""
    items = [
        f"<h2>{escape(item.prompt)}</h2>"
        f"<p>Generated</p>{player(f'generated/{item.key}.flac', f'generated: {item.prompt}')}"
        f"<p>Reference</p>{player(f'references/{item.key}.flac', f'reference: {item.prompt}')}"
        for item in sorted(excerpts.items, key=lambda item: item.prompt.casefold())
    ]
    return [
        "<h1>Audio of every prompt</h1>",
        f'<p>{len(items)} prompts. <a href="index.html">Metric values</a></p>',
        cards(items),
    ]
