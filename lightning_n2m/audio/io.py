"""Reading and writing audio files: the only module that uses soundfile.

``torchaudio.load`` is avoided on purpose: since torchaudio 2.9 it needs torchcodec, which must match
both FFmpeg and torch exactly.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import torch
from torch import Tensor

from lightning_n2m.errors import InputError
from lightning_n2m.storage import write_atomic

# What libsndfile reports for a FLAC file without a length in its header (written to a pipe).
UNKNOWN_LENGTH = 2**63 - 1

_NO_FRAMES = 7  # SFE_BAD_FILE

Source = str | Path | bytes | BinaryIO


@dataclass(frozen=True)
class Audio:
    """Samples ``(channels, time)`` float32, nominally in [-1, 1], and their rate in Hz."""

    samples: Tensor
    sample_rate: int


@dataclass(frozen=True)
class AudioInfo:
    """Header of a file: rate in Hz, length in frames, number of channels, and tags.

    Tags have lower-case names such as ``title``, ``artist``, ``album``, ``date`` and ``genre``.
    """

    sample_rate: int
    frames: int
    channels: int
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.frames / self.sample_rate


class _Sequential(soundfile.SoundFile):
    """A file that is read from its beginning to its end.

    python-soundfile seeks after each read of a seekable file. In an MP3 the first frames after a seek lack
    the bits that earlier frames hold for them (the bit reservoir), and libmpg123 reports that as an error.
    """

    def seekable(self) -> bool:
        """Never: this keeps python-soundfile from seeking."""
        return False


def _open(source: Source, kind: type[soundfile.SoundFile] = soundfile.SoundFile) -> soundfile.SoundFile:
    name = source if isinstance(source, str | Path) else "these bytes"
    try:
        if isinstance(source, bytes):
            file = kind(io.BytesIO(source))
        else:
            if not isinstance(source, str | Path):
                source.seek(0)  # An earlier reader may have left a stream anywhere.
            # As bytes, since names need not be UTF-8.
            file = kind(os.fsencode(source) if isinstance(source, str | Path) else source)
    except (soundfile.LibsndfileError, OSError, TypeError) as error:
        raise InputError(
            f"{name} cannot be read as audio ({_reason(error)}); give WAV, FLAC, Ogg, Opus or MP3."
        ) from error
    if file.frames == UNKNOWN_LENGTH:
        file.close()
        raise InputError(
            f"The header of {name} has no length; encode it again with 'flac' or 'ffmpeg', to a file."
        )
    return file


def _reason(error: Exception) -> str:
    """What libsndfile states, without the name of the file, which the message already has."""
    if not isinstance(error, soundfile.LibsndfileError):
        return str(error)
    # libsndfile states that the file does not exist where libmpg123 finds no frame.
    return "it holds no MP3 frames" if error.code == _NO_FRAMES else error.error_string.rstrip(".")


def probe(source: Source) -> AudioInfo:
    """Read the header only.

    Raises:
        InputError: If libsndfile cannot read the source.
    """
    with _open(source) as file:
        return AudioInfo(file.samplerate, file.frames, file.channels, file.copy_metadata())


def read(source: Source, start: int = 0, frames: int | None = None) -> Audio:
    """Decode a file or a part of it; seeking is far faster than decoding the whole file.

    Args:
        source: Path, bytes of a whole file, or a seekable binary stream.
        start: First frame to decode.
        frames: Number of frames to decode; null for all.

    Raises:
        InputError: If the source is not audio, is damaged, or has fewer frames.
    """
    with _open(source) as file:
        try:
            file.seek(start)
            data = file.read(-1 if frames is None else frames, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(
                f"{source if isinstance(source, str | Path) else 'a clip'} is damaged ({error})."
            ) from error
        rate = file.samplerate
    if frames is not None and len(data) < frames:
        raise InputError(
            f"{source if isinstance(source, str | Path) else 'a clip'} ends after {start + len(data)} "
            f"frames, but {start + frames} are needed."
        )
    return Audio(torch.from_numpy(np.ascontiguousarray(data.T)), rate)


def read_blocks(source: Source, frames: int) -> Iterator[Tensor]:
    """Decode a file block by block: ``(channels, frames)`` float32, the last one shorter.

    Raises:
        InputError: If the source is not audio, or is damaged.
    """
    with _open(source, _Sequential) as file:
        while True:
            try:
                data = file.read(frames, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise InputError(
                    f"{source if isinstance(source, str | Path) else 'a clip'} is damaged ({error})."
                ) from error
            if not len(data):
                return
            yield torch.from_numpy(np.ascontiguousarray(data.T))


def to_mono(samples: Tensor) -> Tensor:
    """Average the channels: ``(channels, time)`` to ``(1, time)``."""
    return samples if samples.shape[-2] == 1 else samples.mean(dim=-2, keepdim=True)


def encode(
    samples: Tensor,
    sample_rate: int,
    format: str = "FLAC",
    subtype: str = "PCM_16",
    compression: float | None = None,
) -> bytes:
    """Encode ``(channels, time)`` into the bytes of a file. Values beyond [-1, 1] are clipped.

    Args:
        samples: Audio.
        sample_rate: Its rate in Hz.
        format: File format by libsndfile's name.
        subtype: Coding by libsndfile's name.
        compression: From 0 (lowest) to 1 (highest); null for the default of the format.
    """
    stream = io.BytesIO()
    data = samples.detach().clamp(-1, 1).T.cpu().numpy()
    level = {} if compression is None else {"compression_level": compression}
    soundfile.write(stream, data, sample_rate, format=format, subtype=subtype, **level)
    return stream.getvalue()


def write(path: str | Path, samples: Tensor, sample_rate: int, subtype: str = "PCM_16") -> Path:
    """Write ``(channels, time)`` in the format of the file extension.

    The write is atomic: the file appears under its name only when it is complete.

    Raises:
        InputError: If libsndfile cannot write files with this extension.
    """
    path = Path(path)
    format = path.suffix.lstrip(".").upper()
    if format == "RAW" or not soundfile.check_format(format, subtype):
        raise InputError(f"{path}: cannot write '{path.suffix}' files; use the extension .wav or .flac.")
    write_atomic(path, encode(samples, sample_rate, format, subtype))
    return path
