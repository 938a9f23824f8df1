"""Spectrogram pictures of edited music with kept and new regions marked, for docs/editing.md.

`python -m benchmarks.edit_figure OUT.jpg "title=FILE=FROM:TO,..." ...`, where FROM:TO are the new regions.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from lightning_n2m.audio.io import read, to_mono
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.editing import parse_regions

MEL = MelSettings()


def draw(path: str, panels: Sequence[tuple[str, str, str]]) -> None:
    """Draw one panel for each (title, sound file, new regions)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.9 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axis, (title, file, regions) in zip(axes, panels, strict=True):
        audio = read(file)
        samples = resample_file(to_mono(audio.samples), audio.sample_rate, MEL.sample_rate)
        mel = log_mel(samples[None], MEL)[0]
        seconds = mel.shape[1] * MEL.hop / MEL.sample_rate
        axis.imshow(mel, origin="lower", aspect="auto", cmap="magma", extent=(0, seconds, 0, MEL.channels))
        _mark(axis, regions, seconds)
        axis.set_title(title, fontsize=9, loc="left")
        axis.set_yticks([])
        axis.tick_params(labelsize=8)
    axes[-1].set_xlabel("seconds", fontsize=8)
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 70})


def _mark(axis: Any, regions: str, seconds: float) -> None:
    """A bar over the panel: green where the recording is kept, orange where the music is new."""
    axis.plot([0, seconds], [MEL.channels - 1] * 2, color="limegreen", linewidth=5, solid_capstyle="butt")
    for start, stop in parse_regions(regions):
        axis.plot([start, stop], [MEL.channels - 1] * 2, color="orange", linewidth=5, solid_capstyle="butt")
        for edge in (start, stop):
            axis.axvline(edge, color="white", linewidth=0.8, linestyle="--")
    axis.set_xlim(0, seconds)
    axis.set_ylim(0, MEL.channels)


if __name__ == "__main__":
    draw(sys.argv[1], [tuple(panel.split("=")) for panel in sys.argv[2:]])  # type: ignore[misc]
