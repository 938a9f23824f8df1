"""Formats that libsndfile does not read, decoded by ffmpeg where it is installed.

Opus is among them: libsndfile 1.2 reports some of the files as malformed that ffmpeg writes, and with it all
programs that download from YouTube.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_n2m.errors import InputError

DECODER = "ffmpeg"
MAX_SECONDS = 24 * 3600  # Length of a track: a file of a kilobyte may claim to last for years.
_TIMEOUT = 2 * 3600.0  # Seconds that decoding may take.
# Containers of audio. Playlists are not among them: they name other files and addresses.
_CONTAINERS = (
    "aac,ac3,act,adx,aea,aiff,amr,amrnb,amrwb,ape,aptx,aptx_hd,asf,asf_o,ast,au,avr,bfstm,boa,brstm,caf,dfpwm,dsf,"
    "dts,dtshd,eac3,epaf,flac,g722,g726,g726le,gsm,hca,htk,iff,ircam,kvag,latm,loas,matroska,webm,mlp,mov,mp4,m4a,"
    "3gp,3g2,mj2,mp3,mpc,mpc8,mpeg,mpegts,msf,mtaf,musx,nistsphere,nut,ogg,oma,osq,pvf,qcp,qoa,rm,rso,sbc,sds,shn,"
    "sln,sol,sox,spdif,tak,truehd,tta,voc,vqf,w64,wav,wsd,wv,xa,xwma"
)


def program() -> str | None:
    """Path of ffmpeg: the installed one, or that of the Python package ``imageio-ffmpeg``; null for none."""
    if installed := shutil.which(DECODER):
        return installed
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):  # not installed, or without a program for this platform
        return None


@contextmanager
def decoded(audio: Path | bytes, name: str, max_seconds: float = MAX_SECONDS) -> Iterator[Path]:
    """The audio of a file as a temporary WAV file, which exists until the block ends.

    Args:
        audio: The file, or its bytes.
        name: File name for messages.
        max_seconds: No more than this and one second is decoded.

    Raises:
        InputError: if ffmpeg is missing or cannot decode the file.
    """
    decoder = program()
    if decoder is None:
        raise InputError(f"{name} is in a format that needs ffmpeg; install it, or the extra 'ffmpeg'.")
    with tempfile.TemporaryDirectory(prefix="n2m-ffmpeg-") as folder:
        target = Path(folder, "audio.wav")
        if isinstance(audio, bytes):
            source = Path(folder, "source")
            source.write_bytes(audio)
        else:
            source = audio.absolute()
        reading = ["-nostdin", "-v", "error", "-protocol_whitelist", "file", "-format_whitelist", _CONTAINERS]
        reading += ["-i", f"file:{source}", "-t", str(max_seconds + 1)]
        writing = ["-map", "0:a:0", "-c:a", "pcm_s16le", "-rf64", "auto", str(target)]
        try:
            run = subprocess.run([decoder, *reading, *writing], capture_output=True, timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"{name} takes ffmpeg more than {_TIMEOUT / 3600:g} hours.") from error
        if run.returncode or not target.is_file():
            lines = run.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            reason = lines[-1].removeprefix("Error opening input file ").replace(f"file:{source}", "it")
            raise InputError(f"{name} cannot be decoded by ffmpeg ({reason}).")
        yield target
