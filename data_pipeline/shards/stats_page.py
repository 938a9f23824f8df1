"""The HTML page of shard statistics: tables, bar charts, and example clips with spectrogram images."""

from __future__ import annotations

import io
import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_n2m.html_page import bars, cards, escape, image, page, player, table
from lightning_n2m.storage import write_atomic

if TYPE_CHECKING:
    from data_pipeline.shards.shard_stats import Example

# Kind of value, heading, what its values are (with the unit), and whether the most frequent come first.
_CHARTS = (
    ("genres", "Genres", "genre", True),
    ("tags", "Tags", "tag", True),
    ("levels", "Level", "level, dBFS (RMS)", False),
    ("peaks", "Peak", "peak, dBFS", False),
    ("bandwidths", "Bandwidth", "bandwidth, kHz", False),
    ("captions", "Pseudo-labels of a clip", "captions", False),
    ("descriptions", "Descriptions of a clip", "descriptions", False),
    ("licences", "Licences", "licence", True),
)
_MAX_BARS = 25
_MAX_TEXT = 400  # Characters of a title, a caption or a label.


def write_page(folder: Path, title: str, values: dict[str, Any], examples: list[Example]) -> None:
    """Write ``index.html`` with the charts and clips that it shows.

    Args:
        folder: Output folder; it must exist.
        title: Name of the shard folder.
        values: The content of ``stats.json``.
        examples: Clips to show.
    """
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
    for kind, heading, unit, by_frequency in _CHARTS:
        counts = {value: number for value, number in values[kind].items() if value}
        if counts:
            body += [f"<h2>{heading}</h2>", _chart(counts, unit, by_frequency)]
    body.append("<h2>Example clips</h2>")
    items = []
    for example in sorted(examples, key=lambda example: example.title.casefold()):
        # The key is safe as a file name: the shard contract allows letters, digits, "-" and "_" only.
        audio, spectrogram = f"{example.key}.{example.ending}", f"{example.key}.png"
        write_atomic(folder / audio, example.audio)
        write_atomic(folder / spectrogram, _spectrogram(example.mel))
        items.append(
            f"<h3>{escape(example.title[:_MAX_TEXT])}</h3><p>{escape(example.text[:_MAX_TEXT])}</p>"
            + player(audio, f"Clip {example.key}")
            + image(spectrogram, f"Log-mel spectrogram of clip {example.key}")
        )
    body.append(cards(items))
    write_atomic(folder / "index.html", page(title, body))


def _chart(counts: dict[str, int], unit: str, by_frequency: bool) -> str:
    """Bars of the most frequent values, or of all values in their order, in at most 25 equal intervals."""
    if by_frequency:
        shown = {name[:_MAX_TEXT]: number for name, number in list(counts.items())[:_MAX_BARS]}
        chart = bars((unit, "clips"), [(name, number, str(number)) for name, number in shown.items()])
        hidden = len(counts) - len(shown)
        return chart + (f"<p>{hidden} more are in stats.json.</p>" if hidden else "")
    numbers = sorted((float(value), number) for value, number in counts.items())
    step = min((right[0] - left[0] for left, right in itertools.pairwise(numbers)), default=1.0)
    low, high = numbers[0][0], numbers[-1][0]
    width = step * math.ceil(((high - low) / step + 1) / _MAX_BARS)
    rows = []
    for i in range(math.floor((high - low) / width + 1e-9) + 1):
        start = low + i * width
        total = sum(number for value, number in numbers if start - 1e-9 <= value < start + width - 1e-9)
        label = f"{start:g}" if width == step else f"{start:g} to {start + width - step:g}"
        rows.append((label, float(total), str(total)))
    return bars((unit, "clips"), rows)


def _spectrogram(mel: Any) -> bytes:
    from matplotlib.figure import Figure

    # Small, so that its text stays readable on a narrow screen.
    figure = Figure(figsize=(4.4, 1.7), layout="constrained")
    axes = figure.subplots()
    seconds = mel.shape[1] * 0.04
    axes.imshow(mel, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, len(mel)))
    axes.set_xlabel("s")
    axes.set_ylabel("mel channel")
    return _png(figure)


def _png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150, metadata={"Software": None})
    return stream.getvalue()
