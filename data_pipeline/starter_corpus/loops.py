"""Recorded drum loops at the tempo of a piece."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.sounds import Loop
from lightning_n2m.errors import InputError

PACKAGE = "sonic-pi-samples"
_FOLDER = "usr/share/sonic-pi/samples"
# A loop that is played faster sounds higher: further away than this it no longer sounds like drums.
_FURTHEST = 1.25


def fits(loop: Loop, tempo: float) -> bool:
    """Whether a loop reaches a tempo (in beats per minute) with a change of speed of at most a quarter."""
    return 1 / _FURTHEST <= tempo / loop.tempo <= _FURTHEST


def at_tempo(samples: np.ndarray, beats: int, tempo: float, seconds: float, rate: int) -> np.ndarray:
    """Repeat a loop so that its beats fall on those of a piece.

    Every repetition starts at the sample nearest to its beat, so that no error adds up.

    Args:
        samples: The loop, mono, ``(time,)``.
        beats: Its length in beats.
        tempo: Beats per minute of the piece.
        seconds: Length of the piece.
        rate: Rate of the result in Hz.

    Returns:
        Samples ``(seconds * rate,)``.
    """
    period = beats * 60 / tempo * rate
    length = round(seconds * rate)
    # Band-limited change of speed: the spectrum is cut or padded, as in the paper's up-sampling.
    spectrum = np.fft.rfft(samples)
    stretched = round(period)
    resized = np.zeros(stretched // 2 + 1, dtype=complex)
    kept = min(len(spectrum), len(resized))
    resized[:kept] = spectrum[:kept]
    once = np.fft.irfft(resized, stretched) * (stretched / len(samples))
    result = np.zeros(length + stretched, dtype=np.float32)
    for number in range(int(length / period) + 1):
        start = round(number * period)
        result[start : start + stretched] = once
    return result[:length]


def read(loop: Loop, cache: Path) -> tuple[np.ndarray, int]:
    """Samples ``(time,)`` and rate of a loop, from the Debian package.

    Args:
        loop: The loop.
        cache: Folder that keeps unpacked Debian packages.

    Raises:
        InputError: if the package cannot be fetched, or does not say that the loop is CC0.
    """
    from lightning_n2m.audio import io

    path = debian.file(PACKAGE, f"{_FOLDER}/{loop.file}", cache)
    copyright_file = debian.file(PACKAGE, f"usr/share/doc/{PACKAGE}/copyright", cache)
    text = copyright_file.read_text(encoding="utf-8", errors="replace")
    if not re.search(rf"Files: etc/samples/{re.escape(loop.file)}\n(?:.+\n)*License: CC0\n", text):
        raise InputError(
            f"{copyright_file} no longer says that {loop.file} is CC0; use Debian 12, or --edition 1."
        )
    audio = io.read(path)
    return io.to_mono(audio.samples)[0].numpy(), audio.sample_rate
