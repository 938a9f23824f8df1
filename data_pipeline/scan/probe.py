"""Decode a file of a collection once, and describe it as a track or give the reason to reject it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipeline.scan.audio_kinds import ending
from data_pipeline.scan.file_scan import SourceFile, check_mounted, local_audio, plain
from data_pipeline.scan.sidecar import read_sidecars
from data_pipeline.scan.tags import read_tags
from data_pipeline.scan.track import Rejected, Track, identity
from lightning_n2m.audio import ffmpeg
from lightning_n2m.audio.decoders import NATIVE, SNDFILE, choose_decoder, decoded, silent_stderr
from lightning_n2m.errors import InputError

if TYPE_CHECKING:
    from lightning_n2m.audio.io import AudioInfo

VERSION = 4  # Of what is looked for in a file: another one makes every file be read again.
_SILENCE_DB = -60  # RMS below which a track is silent, in dBFS.
_SAMPLE_RATES = (4000, 768_000)  # Hz: values outside come from a damaged header.
_BLOCK = 1 << 17  # Samples of all channels that are decoded at a time.


@dataclass(frozen=True)
class ScanResult:
    """The result of reading a file.

    Args:
        name: Its path within the collection.
        result: The track, or why the file is rejected.
        size: Bytes of the file.
        signature: Acoustic signature of the track.
        notes: What was not used of its tags and sidecars, counted by reason.
    """

    name: str
    result: Track | Rejected
    size: int = 0
    signature: bytes = b""
    notes: dict[str, int] = field(default_factory=dict)


class _Reject(Exception):
    """Stops reading a file: kind of reason, and details."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class _Decoded:
    """What decoding a file from end to end gives."""

    info: AudioInfo
    frames: int
    signature: bytes
    decoder: str


def probe(file: SourceFile, root: str, minimum_seconds: float) -> ScanResult:
    """Decode a file and describe it, or say why it cannot be used.

    Args:
        file: The file.
        root: Folder of the collection.
        minimum_seconds: Shorter tracks are rejected.

    Raises:
        InputError: if not the file but its whole disk is missing.
    """
    try:
        if file.reason:
            raise _Reject(file.reason, file.detail)
        return _describe(file, minimum_seconds)
    except (InputError, OSError) as error:
        check_mounted(file.path, root)
        detail = str(error).replace(file.path, file.name)
        return ScanResult(file.name, Rejected(file.name, "unreadable", plain(detail)))
    except _Reject as reject:
        return ScanResult(file.name, Rejected(file.name, reject.reason, plain(reject.detail)))


def _describe(file: SourceFile, minimum_seconds: float) -> ScanResult:
    notes: Counter[str] = Counter()
    with local_audio(file.path) as audio:
        size = len(audio) if isinstance(audio, bytes) else audio.stat().st_size
        found = _decode_by_any(file, audio, minimum_seconds)
        tags, ignored = read_tags(audio, found.info.tags)
        track_id = identity(audio)
    for value, number in ignored.values.items():
        notes[f"tag {value}"] += number
    fields: dict[str, Any] = {"source": file.name, **tags, **read_sidecars(file, notes)}
    track = Track(
        track_id=track_id,
        path=file.path,
        sample_rate=found.info.sample_rate,
        frames=found.frames,
        decoder=found.decoder,
        **fields,
    )
    return ScanResult(file.name, track, size, found.signature, dict(notes))


def _decode_by_any(file: SourceFile, audio: Path | bytes, minimum_seconds: float) -> _Decoded:
    """Decode with the decoder that fits; what libsndfile cannot read is left to ffmpeg."""
    suffix = ending(file.name)
    decoder = choose_decoder(audio, suffix)
    try:
        return _decode(file, audio, decoder, minimum_seconds)
    except InputError as error:
        # A damaged file of a format that libsndfile knows stays damaged.
        if decoder == SNDFILE and suffix not in NATIVE:
            return _decode(file, audio, ffmpeg.DECODER, minimum_seconds)
        if decoder == ffmpeg.DECODER and suffix in NATIVE:
            raise _native_error(audio) from error
        raise
    except _Reject as reject:
        if decoder == ffmpeg.DECODER and suffix in NATIVE and reject.reason == "too short":
            # ffmpeg decodes what little it recognises of a damaged file.
            seconds = reject.detail.partition(",")[0]
            raise _Reject("unreadable", f"{_native_error(audio)} Only {seconds} can be decoded.") from reject
        raise


def _native_error(audio: Path | bytes) -> InputError:
    """Why libsndfile cannot read a file that neither it nor ffmpeg reads."""
    from lightning_n2m.audio import io

    try:
        with silent_stderr():
            io.probe(audio)
    except InputError as error:
        return error
    return InputError("It cannot be read.")


def _decode(file: SourceFile, audio: Path | bytes, decoder: str, minimum_seconds: float) -> _Decoded:
    """Decode from end to end: checks, acoustic signature and number of frames."""
    from data_pipeline.scan.signature import Signature
    from lightning_n2m.audio import io

    with decoded(audio, file.path, decoder) as readable:
        info = io.probe(readable)
        if not _SAMPLE_RATES[0] <= info.sample_rate <= _SAMPLE_RATES[1]:
            raise _Reject("unreadable", f"its sample rate is {info.sample_rate} Hz")
        if info.duration < minimum_seconds:
            raise _Reject("too short", f"{info.duration:.2f} s, less than {minimum_seconds:g} s")
        if info.duration > ffmpeg.MAX_SECONDS:
            hours = ffmpeg.MAX_SECONDS // 3600
            raise _Reject("too long", f"{info.duration / 3600:.0f} hours, more than {hours}; cut it")
        signature = Signature(info.sample_rate)
        energy, frames = 0.0, 0
        for samples in io.read_blocks(readable, max(1, _BLOCK // info.channels)):
            mono = io.to_mono(samples)
            energy += float(mono.double().square().sum())
            frames += mono.shape[-1]
            signature.add(mono)
    # Headers of Ogg files may be some frames off.
    if frames < info.frames - info.sample_rate or not frames:
        raise _Reject("unreadable", f"ends after {frames} of {info.frames} frames")
    if not math.isfinite(energy):
        raise _Reject("unreadable", "holds NaN or infinite samples")
    level = 10 * math.log10(energy / frames + 1e-20)
    if level < _SILENCE_DB:
        raise _Reject("silent", f"below {_SILENCE_DB} dBFS throughout, when its channels are mixed")
    if level > 0:
        raise _Reject("too loud", f"{level:.1f} dB above full scale: samples must lie within -1 and 1")
    return _Decoded(info, frames, signature.bits().tobytes(), decoder)
