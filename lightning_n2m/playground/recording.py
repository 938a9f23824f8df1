"""Uploaded recordings: checked by the reader of the data pipeline, and drawn as a waveform with regions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lightning_n2m.data.recording import read_recording
from lightning_n2m.html_page import escape
from lightning_n2m.playground.results import file_url

_COLUMNS = 400  # of the waveform
_WIDTH, _HEIGHT = 1000, 120  # of its coordinates


def waveform_html(path: Path, max_seconds: float) -> str:
    """Player and waveform of a recording, on which `waveform.js` marks regions.

    Args:
        path: The uploaded file.
        max_seconds: Longest recording.

    Raises:
        InputError: if it cannot be used: see `read_recording`.
    """
    recording = read_recording(path, max_seconds)
    samples = recording.samples[0].numpy()
    seconds = len(samples) / recording.sample_rate
    name = escape(path.name)
    return (
        f"<p>{name}: {seconds:.1f} s</p>"
        f'<audio controls preload="metadata" src="{file_url(path)}" aria-label="Recording {name}"></audio>'
        f'<svg class="n2m-waveform" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img" '
        f'data-seconds="{seconds:.3f}" aria-label="Waveform of {name}">'
        f'<path d="{_outline(samples)}"></path><g class="n2m-regions"></g></svg>'
    )


def _outline(samples: np.ndarray) -> str:
    """Path around the peaks of equal parts of the samples, mirrored at the middle."""
    parts = np.array_split(np.abs(samples), min(_COLUMNS, len(samples)))
    peaks = np.array([part.max() for part in parts])
    heights = peaks / max(float(peaks.max()), 1e-9) * (_HEIGHT / 2 - 2)
    x = (np.arange(len(heights)) + 0.5) * _WIDTH / len(heights)
    top = [f"{a:.1f},{_HEIGHT / 2 - h:.1f}" for a, h in zip(x, heights, strict=True)]
    bottom = [f"{a:.1f},{_HEIGHT / 2 + h:.1f}" for a, h in zip(x, heights, strict=True)][::-1]
    return f"M{' L'.join(top + bottom)} Z"
