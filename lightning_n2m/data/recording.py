"""Recordings that users give to edit: read as the data pipeline reads them, and checked."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_n2m.audio.decoders import choose_decoder, decoded
from lightning_n2m.audio.io import Audio, probe, read_blocks, to_mono
from lightning_n2m.errors import InputError

MAX_SECONDS = 3600.0
SHORTEST = 1.0  # seconds
SILENCE = 1e-4  # peak below which a recording is silent: -80 dBFS
_BLOCK = 1 << 20  # frames that are decoded at once


def read_recording(path: str | Path) -> Audio:
    """A recording of any format, rate and number of channels, as mono.

    The data pipeline reads recordings in the same way: through libsndfile, or through ffmpeg where it is
    installed.

    Raises:
        InputError: if it is missing, is not audio, is damaged, shorter than 1 s, longer than an hour, silent,
            or holds samples that are NaN or infinite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The recording {path} does not exist or is not a file; give a sound file.")
    with decoded(path, str(path), choose_decoder(path, path.suffix.lower())) as source:
        info = probe(source)
        if info.duration > MAX_SECONDS:
            raise InputError(
                f"{path} has {info.duration / 60:.0f} minutes; give a recording of at most "
                f"{MAX_SECONDS / 60:.0f}."
            )
        blocks = [to_mono(block) for block in read_blocks(source, _BLOCK)]
    samples = torch.cat(blocks, dim=1) if blocks else torch.zeros(1, 0)
    seconds = samples.shape[-1] / info.sample_rate
    if seconds < SHORTEST:
        raise InputError(f"{path} has {seconds:.2f} s; give a recording of at least {SHORTEST:g} s.")
    if not torch.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are NaN or infinite; give another recording.")
    if samples.abs().max() < SILENCE:
        raise InputError(f"{path} is silent; give a recording with music.")
    return Audio(samples, info.sample_rate)
