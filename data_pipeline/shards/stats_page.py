"""A page of figures, pictures and clips."""

from __future__ import annotations

import html
import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_n2m.storage import write_atomic

if TYPE_CHECKING:
    from data_pipeline.shards.shard_stats import Example

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse } td, th { padding: .2rem .8rem; text-align: right }
td:first-child, th:first-child { text-align: left } tr + tr { border-top: 1px solid #ddd }
img { max-width: 100%; display: block; margin: .5rem 0 } audio { width: 100% }
"""
# Kind of figure, heading, what the axis counts, and whether bars lie, in the order of their length.
_CHARTS = (
    ("genres", "Genres", "clips", True),
    ("tags", "Tags", "clips", True),
    ("levels", "Level", "dBFS (RMS)", False),
    ("peaks", "Peak", "dBFS", False),
    ("bandwidths", "Where the spectrum ends", "kHz", False),
    ("captions", "Pseudo-labels of a clip", "captions", False),
    ("descriptions", "Descriptions of a clip", "descriptions", False),
    ("licences", "Licences", "clips", True),
)
_BARS = 25


def write_page(folder: Path, title: str, figures: dict[str, Any], examples: list[Example]) -> None:
    """Write ``index.html`` with the pictures and clips that it shows.

    Args:
        folder: Where to; it must exist.
        title: What the figures describe.
        figures: Those of ``stats.json``.
        examples: Clips to show.
    """
    import matplotlib

    matplotlib.use("Agg")
    rows = "".join(
        f"<tr><td>{split}</td><td>{row['tracks']}</td><td>{row['clips']}</td><td>{row['hours']:.2f}</td></tr>"
        for split, row in figures["splits"].items()
    )
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{figures['clips']} clips of {figures['tracks']} tracks, {figures['hours']:.2f} hours; "
        f"{figures['labelled_clips']} with pseudo-labels; {figures['clipped_clips']} that reach full scale; "
        f"median level {figures['median_level_db']:g} dBFS, "
        f"median bandwidth {figures['median_bandwidth_khz']:g} kHz.</p>",
        f"<table><tr><th>split</th><th>tracks</th><th>clips</th><th>hours</th></tr>{rows}</table>",
    ]
    for kind, heading, unit, lying in _CHARTS:
        counts = {value: number for value, number in figures[kind].items() if value}
        if counts:
            write_atomic(folder / f"{kind}.png", _chart(counts, unit, lying))
            parts.append(f'<h2>{heading}</h2><img src="{kind}.png" alt="{heading}: clips by {unit}">')
    parts.append("<h2>Some clips</h2>")
    for example in examples:
        write_atomic(folder / f"{example.key}.{example.ending}", example.audio)
        write_atomic(folder / f"{example.key}.png", _spectrogram(example.mel))
        parts.append(
            f"<h3>{html.escape(example.title)}</h3><p>{html.escape(example.words)}</p>"
            f'<audio controls src="{example.key}.{example.ending}"></audio>'
            f'<img src="{example.key}.png" alt="log-mel spectrogram">'
        )
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    write_atomic(folder / "index.html", f"{page}<style>{_STYLE}</style>{''.join(parts)}</html>\n")


def _chart(counts: dict[str, int], unit: str, lying: bool) -> bytes:
    from matplotlib.figure import Figure

    if lying:
        shown = dict(list(counts.items())[:_BARS])
        # Names come from files: a $ in them is no mathematics.
        names = [name.replace("$", r"\$")[:60] for name in shown]
        figure = Figure(figsize=(8, 0.6 + 0.25 * len(shown)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(shown)), list(shown.values()), tick_label=names)
        axes.invert_yaxis()
        axes.set_xlabel(unit)
    else:
        figure = Figure(figsize=(8, 2.6), layout="constrained")
        axes = figure.subplots()
        values = [float(value) for value in counts]
        width = min((b - a for a, b in itertools.pairwise(values)), default=1.0)
        axes.bar(values, list(counts.values()), width=0.9 * width)
        axes.set_xlabel(unit)
        axes.set_ylabel("clips")
    return _png(figure)


def _spectrogram(mel: Any) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(
        mel, origin="lower", aspect="auto", cmap="magma", extent=(0, mel.shape[1] * 0.04, 0, len(mel))
    )
    axes.set_xlabel("s")
    axes.set_ylabel("mel channel")
    return _png(figure)


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
