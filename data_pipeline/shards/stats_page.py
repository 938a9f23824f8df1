"""The HTML page of shard statistics: a table, charts, and example clips with spectrogram images."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_n2m.html_page import escape, image, page, player, printable, table
from lightning_n2m.storage import write_atomic

if TYPE_CHECKING:
    from data_pipeline.shards.shard_stats import Example

# Kind of value, heading, label of the axis, and whether bars are horizontal, the longest first.
_CHARTS = (
    ("genres", "Genres", "clips", True),
    ("tags", "Tags", "clips", True),
    ("levels", "Level", "dBFS (RMS)", False),
    ("peaks", "Peak", "dBFS", False),
    ("bandwidths", "Bandwidth", "kHz", False),
    ("captions", "Pseudo-labels of a clip", "captions", False),
    ("descriptions", "Descriptions of a clip", "descriptions", False),
    ("licences", "Licences", "clips", True),
)
_MAX_BARS = 25
_MAX_LABEL = 60  # Characters of a bar's label.
_MAX_TEXT = 400  # Characters of a title or of a caption.


def write_page(folder: Path, title: str, values: dict[str, Any], examples: list[Example]) -> None:
    """Write ``index.html`` with the charts and clips that it shows.

    Args:
        folder: Output folder; it must exist.
        title: Name of the shard folder.
        values: The content of ``stats.json``.
        examples: Clips to show.
    """
    import matplotlib

    matplotlib.use("Agg")
    rows = [
        (split, str(row["tracks"]), str(row["clips"]), f"{row['hours']:.2f}")
        for split, row in values["splits"].items()
    ]
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{values['clips']} clips of {values['tracks']} tracks, {values['hours']:.2f} hours; "
        f"{values['labelled_clips']} with pseudo-labels; {values['clipped_clips']} that reach full scale; "
        f"median level {values['median_level_db']:g} dBFS, "
        f"median bandwidth {values['median_bandwidth_khz']:g} kHz.</p>",
        table(("split", "tracks", "clips", "hours"), rows, numbers=(1, 2, 3)),
    ]
    for kind, heading, unit, horizontal in _CHARTS:
        counts = {value: number for value, number in values[kind].items() if value}
        if counts:
            chart = _horizontal_bars(counts, unit) if horizontal else _histogram(counts, unit)
            write_atomic(folder / f"{kind}.png", chart)
            body += [f"<h2>{heading}</h2>", image(f"{kind}.png", f"{heading}: clips by {unit}")]
    body.append("<h2>Example clips</h2>")
    for example in examples:
        # The key is safe as a file name: the shard contract allows letters, digits, "-" and "_" only.
        audio, spectrogram = f"{example.key}.{example.ending}", f"{example.key}.png"
        write_atomic(folder / audio, example.audio)
        write_atomic(folder / spectrogram, _spectrogram(example.mel))
        body += [
            f"<h3>{escape(example.title[:_MAX_TEXT])}</h3>",
            f"<p>{escape(example.text[:_MAX_TEXT])}</p>",
            player(audio, f"Clip {example.key}"),
            image(spectrogram, f"Log-mel spectrogram of clip {example.key}"),
        ]
    write_atomic(folder / "index.html", page(title, body))


def _horizontal_bars(counts: dict[str, int], unit: str) -> bytes:
    from matplotlib.figure import Figure

    shown = dict(list(counts.items())[:_MAX_BARS])
    # Labels come from files: a "$" in them must not start a formula.
    labels = [printable(name)[:_MAX_LABEL].replace("$", r"\$") for name in shown]
    figure = Figure(figsize=(8, 0.6 + 0.25 * len(shown)), layout="constrained")
    axes = figure.subplots()
    axes.barh(range(len(shown)), list(shown.values()), tick_label=labels)
    axes.invert_yaxis()
    axes.set_xlabel(unit)
    return _png(figure)


def _histogram(counts: dict[str, int], unit: str) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    positions = [float(value) for value in counts]
    width = min((right - left for left, right in itertools.pairwise(positions)), default=1.0)
    axes.bar(positions, list(counts.values()), width=0.9 * width)
    axes.set_xlabel(unit)
    axes.set_ylabel("clips")
    return _png(figure)


def _spectrogram(mel: Any) -> bytes:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.8), layout="constrained")
    axes = figure.subplots()
    seconds = mel.shape[1] * 0.04
    axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, len(mel)))
    axes.set_xlabel("s")
    axes.set_ylabel("mel channel")
    return _png(figure)


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
