"""Recordings that users give to edit: read as the data pipeline reads them, and checked."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lightning_n2m.audio.decoders import choose_decoder, decoded, silent_stderr
from lightning_n2m.audio.io import Audio, probe, read_blocks, to_mono
from lightning_n2m.errors import InputError

MAX_SECONDS = 3600.0
SHORTEST = 1.0  # seconds
SILENCE = 1e-4  # peak below which a recording is silent: -80 dBFS
_BLOCK = 1 << 20  # frames that are decoded at once


def read_recording(path: str | Path, max_seconds: float = MAX_SECONDS) -> Audio:
    """A recording of any format, rate and number of channels, as mono.

    The data pipeline reads recordings in the same way: through libsndfile, or through ffmpeg where it is
    installed.

    Args:
        path: The file.
        max_seconds: Longest recording; of a longer one, no more than this is decoded.

    Raises:
        InputError: if it is missing, is not audio, is damaged, shorter than 1 s, too long, silent, or holds
            samples that are NaN or infinite.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"The recording {path} does not exist or is not a file; give a sound file.")
    too_long = InputError(f"{path} is too long; give a recording of at most {max_seconds / 60:g} minutes.")
    blocks: list[Tensor] = []
    frames = 0
    decoder = choose_decoder(path, path.suffix.lower())
    # libmpg123 reports each damaged frame; the result says whether the file can be used.
    with silent_stderr(), decoded(path, str(path), decoder, max_seconds) as source:
        info = probe(source)
        if info.duration > max_seconds:
            raise too_long
        for block in read_blocks(source, _BLOCK):
            # The header of a damaged file may state less than the file holds.
            frames += block.shape[-1]
            if frames > max_seconds * info.sample_rate:
                raise too_long
            blocks.append(to_mono(block))
    samples = torch.cat(blocks, dim=1) if blocks else torch.zeros(1, 0)
    seconds = samples.shape[-1] / info.sample_rate
    if seconds < SHORTEST:
        raise InputError(f"{path} has {seconds:.2f} s; give a recording of at least {SHORTEST:g} s.")
    if not torch.isfinite(samples).all():
        raise InputError(f"{path} holds samples that are NaN or infinite; give another recording.")
    if samples.abs().max() < SILENCE:
        raise InputError(f"{path} is silent; give a recording with music.")
    return Audio(samples, info.sample_rate)
