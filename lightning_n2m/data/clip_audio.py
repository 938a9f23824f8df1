"""Decoding the audio of a clip within the bounds of its metadata; the clip may come from a stranger."""

from __future__ import annotations

from lightning_n2m.audio.io import Audio, AudioInfo, probe, read
from lightning_n2m.data.shard_reader import RawClip
from lightning_n2m.errors import InputError

_MAX_CHANNELS = 8


def probe_clip(raw: RawClip) -> AudioInfo:
    """Read the header of a clip's audio and compare it with the clip's metadata.

    A decoder allocates memory for what the header states. So a few bytes that state hours, many channels or
    another rate are refused before they are decoded.

    Raises:
        InputError: if the audio cannot be read or exceeds the metadata; the message is a reason that
            begins in the middle of a sentence.
    """
    info = probe(raw.audio)
    if info.sample_rate != raw.clip.sample_rate:
        raise InputError(
            f"its audio is at {info.sample_rate} Hz, but its metadata says {raw.clip.sample_rate}"
        )
    if info.channels > _MAX_CHANNELS:
        raise InputError(f"its audio has {info.channels} channels, more than {_MAX_CHANNELS}")
    if info.frames > round(raw.clip.duration_s * info.sample_rate) + 1:
        raise InputError(
            f"its audio states {info.duration:.2f} s, but its metadata says {raw.clip.duration_s:g} s"
        )
    return info


def read_clip(raw: RawClip) -> Audio:
    """Decode the whole audio of a clip.

    Raises:
        InputError: as `probe_clip`, or if the audio is damaged.
    """
    probe_clip(raw)
    return read(raw.audio)
