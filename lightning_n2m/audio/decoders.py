"""How the audio of a file is decoded: by libsndfile, through a repaired copy, or by ffmpeg."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process
from pathlib import Path
from typing import BinaryIO

from lightning_n2m.audio import ffmpeg
from lightning_n2m.audio.mp3_frames import count_frames, counted_copy
from lightning_n2m.audio.wav_header import true_length, with_true_length
from lightning_n2m.errors import InputError

SNDFILE = ""
MP3_FRAMES = "mp3 frames"
WAV_HEADER = "wav header"
# Formats that libsndfile is expected to read; a file with another ending needs ffmpeg.
NATIVE = frozenset((
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".mp3", ".mp2", ".mp1", ".mpga",
    ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".avr", ".htk", ".nist", ".sph", ".pvf",
    ".paf", ".ircam", ".sf", ".sds", ".xi", ".8svx", ".svx", ".16sv", ".iff", ".mat4", ".mat5", ".sd2",
    ".gsm", ".vox",
))  # fmt: skip
_STDERR = threading.RLock()  # Two threads that redirect standard error at once would not restore it.
_GAPLESS = 9216  # Samples of an encoder's delay and padding, at most.


@contextmanager
def decoded(
    audio: Path | bytes, name: str, decoder: str, max_seconds: float = ffmpeg.MAX_SECONDS
) -> Iterator[Path | bytes | BinaryIO]:
    """What `lightning_n2m.audio.io` can read of a file, until the block ends.

    Args:
        audio: The file, or its bytes.
        name: File name for messages.
        decoder: The manifest's word for how the file is read.
        max_seconds: ffmpeg decodes no more than this and one second.

    Raises:
        InputError: if it cannot be read so.
    """
    if decoder == SNDFILE:
        with _without_decoder_messages():
            yield audio
    elif decoder == ffmpeg.DECODER:
        with ffmpeg.decoded(audio, name, max_seconds) as wav:
            yield wav
    elif decoder == MP3_FRAMES:
        with counted_copy(audio, name) as mp3, _without_decoder_messages():
            yield mp3
    elif decoder == WAV_HEADER:
        with with_true_length(audio, name) as stream:
            yield stream
    else:
        raise InputError(
            f"{name} names the decoder '{decoder}', which is not known; build the manifest again."
        )


@contextmanager
def _without_decoder_messages() -> Iterator[None]:
    """Drop what libmpg123 writes to standard error about the first frame after a seek.

    Only in a worker process: this process may show progress meanwhile.
    """
    if parent_process() is None:
        yield
        return
    with silent_stderr():
        yield


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Drop what libraries in C, such as libmpg123, write to standard error."""
    with _STDERR:
        if not _is_open(2):
            yield
            return
        before, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(before, 2)
            os.close(before)
            os.close(nowhere)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def choose_decoder(audio: Path | bytes, suffix: str) -> str:
    """How a file is to be decoded.

    Args:
        audio: The file, or its bytes.
        suffix: Its ending.

    Raises:
        InputError: if libsndfile cannot read it, and ffmpeg is not installed or cannot help.
    """
    from lightning_n2m.audio.io import probe  # imports torch

    head = audio[:12] if isinstance(audio, bytes) else _head(audio)
    if head[:4] == b"RIFF":
        with io.BytesIO(audio) if isinstance(audio, bytes) else open(audio, "rb") as file:
            if true_length(file):
                return WAV_HEADER
    try:
        with silent_stderr():
            info = probe(audio)
    except InputError:
        return ffmpeg.DECODER
    if head[:3] == b"ID3" or (head[:1] == b"\xff" and suffix not in (".aac", ".adts")):
        count = count_frames(audio)
        # Players shorten an MP3 whose header gives its encoder's delay and padding.
        if count and count.first.layer == 3:
            allowed = _GAPLESS if count.has_info else count.first.samples
            if not 0 <= count.samples - info.frames <= allowed:
                return MP3_FRAMES
    return SNDFILE


def _head(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(12)
