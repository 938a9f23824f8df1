"""`python -m data_pipeline manifest`: which tracks a collection holds."""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.scan import ffmpeg
from data_pipeline.scan import track as tracks
from data_pipeline.scan.annotations.reader import keys_of, read_annotations
from data_pipeline.scan.file_scan import Origin, check_mounted, load, plain, walk
from data_pipeline.scan.scan_database import Catalogue, Found, catalogue_of
from data_pipeline.scan.track import REJECTED, Rejected, Track
from lightning_n2m.errors import InputError
from lightning_n2m.storage import is_folder, is_url, read_bytes

_VERSION = 3  # Of what is looked for in a file: another one makes everything be read again.
_SILENCE_DB = -60  # RMS below which a track is silent, in dBFS.
_RATES = (4000, 768_000)  # Hz: what is outside is a damaged header.
_BLOCK = 1 << 19  # Samples decoded at a time.


def manifest(
    source: str,
    output: Path,
    metadata: Path | None = None,
    minimum_seconds: float = 20.0,
    workers: int | None = None,
    engine: Engine = "local",
) -> None:
    """List the usable tracks of a folder, and why the others are not.

    Every audio file is decoded once: unreadable, too short and silent ones go to rejected.jsonl beside
    the manifest, and so do duplicates, whether the same file or the same recording in another encoding.
    What is known of a track comes from its own tags, from a file NAME.json beside it, and from the
    metadata file; the later ones win. What was found so far is kept in a file OUTPUT.sqlite: an
    interrupted run goes on, and a later one reads only what is new.

    Args:
        source: Folder of audio files, of any depth, or its URL (s3://, gs://, memory://); tar files in it
            are looked into.
        output: The manifest to write, one JSON line a track.
        metadata: What is known of the tracks: JSON lines, CSV or Parquet with a column 'path' (relative
            to the source) and any of title, artist, album, year, genres, tags, descriptions, licence,
            source, truth; or the annotations of MusicCaps, MagnaTagATune, AudioSet, FMA or MTG-Jamendo
            as they are published.
        minimum_seconds: Shorter tracks are left out.
        workers: Processes that decode; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.

    Raises:
        InputError: if the source is no folder or holds no audio, or the metadata is damaged.
    """
    if not is_folder(source):
        raise InputError(f"The source folder {source} does not exist; give --source a folder of audio files.")
    root = "" if is_url(source) else str(Path(source).absolute())
    output.parent.mkdir(parents=True, exist_ok=True)
    with closing(Catalogue(catalogue_of(output))) as catalogue:
        if metadata:
            for key, fields in read_annotations(metadata):
                catalogue.learn(unicodedata.normalize("NFC", key), fields)
        for origin in walk(source if is_url(source) else Path(source)):
            catalogue.meet(origin, f"{_VERSION} {minimum_seconds:g} {origin.stamp}")
        catalogue.forget_others()
        total = catalogue.count()
        if not total:
            raise InputError(
                f"{source} holds no audio files; give --source a folder of WAV, FLAC, Ogg, Opus or MP3 files."
            )
        missing = catalogue.count("result IS NULL")
        look = partial(probe, root=root, minimum_seconds=minimum_seconds)
        with progress("reading", total, "tracks", total - missing) as report:
            for found in run(look, catalogue.unread(), workers, engine):
                catalogue.put(found)
                report()
        catalogue.mark_copies()
        _mark_twins(catalogue)
        summary = _Summary()
        tracks.write_lines(output, summary.kept(catalogue))
        tracks.write_lines(output.with_name(REJECTED), summary.rejected(catalogue))
        number, first = catalogue.strangers()
    print(
        f"{summary.tracks} tracks, {summary.seconds / 3600:.2f} hours, in {output}; "
        f"left out: {tracks.counts(summary.reasons)}."
    )
    if number:
        print(f"{metadata} names {number} files that are not there, the first of them {first}.")


class _Summary:
    """Counts what is listed while it is listed."""

    def __init__(self) -> None:
        self.tracks, self.seconds = 0, 0.0
        self.reasons: Counter[str] = Counter()

    def kept(self, catalogue: Catalogue) -> Iterator[Track]:
        """The tracks to list, with what the metadata says of them."""
        for name, result in catalogue.results():
            known = catalogue.known(*keys_of(unicodedata.normalize("NFC", name)))
            if isinstance(result, Track):
                self.tracks, self.seconds = self.tracks + 1, self.seconds + result.seconds
                yield replace(result, **known)

    def rejected(self, catalogue: Catalogue) -> Iterator[Rejected]:
        """The files that are left out."""
        for _, result in catalogue.results():
            if isinstance(result, Rejected):
                self.reasons[result.reason] += 1
                yield result


def _mark_twins(catalogue: Catalogue) -> None:
    """Of several encodings of one recording, keep the file of the most bytes."""
    from data_pipeline.scan.near_duplicates import twins

    kept: dict[int, int] = {}

    def keeper(number: int) -> int:
        while number in kept:
            number = kept[number]
        return number

    entries = ((number, signature) for number, _, _, _, signature in catalogue.tracks())
    for pair in twins(entries):
        one, other = map(keeper, pair)
        if one == other:
            continue
        (name, size, track), (other_name, other_size, other_track) = map(catalogue.describe, (one, other))
        if abs(track.seconds - other_track.seconds) > max(1.0, 0.01 * track.seconds):
            continue
        one_first = (-size, name) < (-other_size, other_name)
        kept[other if one_first else one] = one if one_first else other
    for number in kept:
        catalogue.mark_twin(number, f"the same recording as {catalogue.describe(keeper(number))[0]}")


class _Reject(Exception):
    """Ends the look into a file: kind of reason, and details."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


def probe(origin: Origin, root: str, minimum_seconds: float) -> Found:
    """Decode a file and describe it, or say why it cannot be used.

    Args:
        origin: The file.
        root: Folder of the collection.
        minimum_seconds: Shorter tracks are rejected.

    Raises:
        InputError: if not the file but its whole disk is gone.
    """
    try:
        if origin.problem:
            raise _Reject("unreadable", origin.problem)
        return _probe(origin, minimum_seconds)
    except (InputError, OSError) as error:
        check_mounted(origin.path, root)
        detail = str(error).replace(origin.path, origin.name)
        return Found(origin.name, Rejected(origin.name, "unreadable", plain(detail)))
    except _Reject as found:
        return Found(origin.name, Rejected(origin.name, found.reason, plain(found.detail)))


def _probe(origin: Origin, minimum_seconds: float) -> Found:
    audio = load(origin.path)
    try:
        track, signature = _listen(origin, audio, minimum_seconds)
    except InputError:
        if not origin.name.lower().endswith(ffmpeg.ENDINGS):
            raise
        with ffmpeg.decoded(audio, origin.path) as wav:
            track, signature = _listen(origin, wav, minimum_seconds)
        track = replace(track, decoder=ffmpeg.DECODER)
    size = len(audio) if isinstance(audio, bytes) else audio.stat().st_size
    return Found(origin.name, replace(track, track_id=tracks.identity(audio)), size, signature)


def _listen(origin: Origin, audio: Path | bytes, minimum_seconds: float) -> tuple[Track, bytes]:
    """Decode from end to end: a track, still without identity, and its signature."""
    from data_pipeline.scan.signature import Signature
    from lightning_n2m.audio import io

    info = io.probe(audio)
    if not _RATES[0] <= info.sample_rate <= _RATES[1]:
        raise _Reject("unreadable", f"its sample rate is {info.sample_rate} Hz")
    if info.duration < minimum_seconds:
        raise _Reject("too short", f"{info.duration:.2f} s, less than {minimum_seconds:g} s")
    signature = Signature(info.sample_rate)
    energy, frames = 0.0, 0
    for samples in io.read_blocks(audio, max(1, _BLOCK // info.channels)):
        mono = io.to_mono(samples)
        energy += float(mono.double().square().sum())
        frames += mono.shape[-1]
        signature.add(mono)
    # Headers of Ogg files may be some frames off.
    if frames < info.frames - info.sample_rate or not frames:
        raise _Reject("unreadable", f"ends after {frames} of {info.frames} frames")
    if not math.isfinite(energy):
        raise _Reject("unreadable", "holds samples that are no numbers")
    level = 10 * math.log10(energy / frames + 1e-20)
    if level < _SILENCE_DB:
        raise _Reject("silent", f"below {_SILENCE_DB} dBFS throughout, when its channels are mixed")
    if level > 0:
        raise _Reject("too loud", f"{level:.1f} dB above full scale: samples must lie within -1 and 1")
    found = Track("", origin.path, info.sample_rate, frames, source=origin.name)
    known = {**_from_tags(info.tags), **_from_sidecar(origin.sidecar)}
    return replace(found, **known), signature.bits().tobytes()


def _from_tags(tags: dict[str, str]) -> dict[str, Any]:
    genre = tags.get("genre", "").strip().lower()
    named = {key: tags.get(key, "").strip() for key in ("title", "artist", "album")}
    named["year"] = tags.get("date", "").strip()[:4]
    found: dict[str, Any] = {key: plain(value) for key, value in named.items() if value}
    return {**found, **({"genres": (plain(genre),)} if genre else {})}


def _from_sidecar(place: str) -> dict[str, Any]:
    if not place:
        return {}
    try:
        audio = load(place)
        text = audio if isinstance(audio, bytes) else read_bytes(audio)
        return tracks.metadata(json.loads(text), place)
    except (InputError, ValueError, OSError):
        # Any tool may leave a .json there; what is no metadata of ours is no reason to lose the track.
        return {}
