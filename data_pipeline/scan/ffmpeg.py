"""Formats that libsndfile does not read, by way of ffmpeg where it is installed.

Opus is among them: libsndfile 1.2 calls some of the files malformed that ffmpeg writes, and with it all
that download from YouTube.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_n2m.errors import InputError

ENDINGS = (".opus", ".m4a", ".aac", ".wma", ".mp4", ".ape", ".wv")
DECODER = "ffmpeg"


@contextmanager
def decoded(audio: Path | bytes, name: str) -> Iterator[Path]:
    """A WAV file of what a file holds, for as long as the block runs.

    Args:
        audio: The file, or its bytes.
        name: What to call it in messages.

    Raises:
        InputError: if ffmpeg is missing or cannot decode it either.
    """
    if shutil.which(DECODER) is None:
        raise InputError(f"{name} is in a format that needs ffmpeg; install it.")
    with tempfile.TemporaryDirectory(prefix="foreign-") as folder:
        target = Path(folder, "audio.wav")
        if isinstance(audio, bytes):
            source = Path(folder, "source")
            source.write_bytes(audio)
        else:
            source = audio.absolute()
        # Only files: what looks like music may be a playlist that names addresses.
        reading = ["-nostdin", "-v", "error", "-protocol_whitelist", "file", "-i", f"file:{source}"]
        writing = ["-map", "0:a:0", "-c:a", "pcm_s16le", "-rf64", "auto", str(target)]
        done = subprocess.run([DECODER, *reading, *writing], capture_output=True)
        if done.returncode or not target.is_file():
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise InputError(
                f"{name} cannot be decoded by ffmpeg ({said[-1].removeprefix(f'file:{source}: ')})."
            )
        yield target
