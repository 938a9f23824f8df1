"""`python -m data_pipeline manifest`: which tracks a collection holds."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_pipeline import track as tracks
from data_pipeline.engine import run
from data_pipeline.progress import progress
from data_pipeline.track import REJECTED, Rejected, Track
from lightning_n2m.errors import InputError

# Endings taken for audio; those that libsndfile cannot read are named as unreadable, not passed over.
ENDINGS = frozenset(
    [
        ".wav",
        ".flac",
        ".ogg",
        ".oga",
        ".opus",
        ".mp3",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".w64",
        ".rf64",
        ".m4a",
        ".aac",
        ".wma",
        ".mp4",
        ".ape",
        ".wv",
    ]
)
_SILENCE_DB = -60  # RMS below which a track is silent, in dBFS.
_BLOCK = 60  # Seconds decoded at a time.


def manifest(
    source: Path,
    output: Path,
    metadata: Path | None = None,
    minimum_seconds: float = 20.0,
    workers: int | None = None,
) -> None:
    """List the usable tracks of a folder, and why the others are not.

    Every audio file is decoded once: unreadable, too short, silent and duplicate ones go to
    rejected.jsonl beside the manifest. What is known of a track comes from its own tags, from a file
    NAME.json beside it, and from the metadata file; the later ones win.

    Args:
        source: Folder of audio files, of any depth.
        output: The manifest to write, one JSON line a track.
        metadata: JSON lines by path relative to the source: title, artist, album, year, genres, tags,
            descriptions, licence, source, truth.
        minimum_seconds: Shorter tracks are left out.
        workers: Processes that decode; all cores when none is given.

    Raises:
        InputError: if the source is no folder or holds no audio, or the metadata is damaged.
    """
    if not source.is_dir():
        raise InputError(f"The source folder {source} does not exist; give --source a folder of audio files.")
    known = _read_metadata(metadata, source) if metadata else {}
    files = sorted(walk(source), key=lambda path: path.relative_to(source).as_posix())
    if not files:
        raise InputError(
            f"{source} holds no audio files; give --source a folder of WAV, FLAC, Ogg, Opus or MP3 files."
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    units = [Unit(str(path), path.relative_to(source).as_posix(), minimum_seconds) for path in files]
    found: dict[str, Track | Rejected] = {}
    with progress("reading", len(units), "tracks") as report:
        for unit, result in run(probe, units, workers):
            found[unit.name] = result
            report()
    kept: dict[str, Track] = {}
    rejected = []
    for name, result in sorted(found.items()):
        if isinstance(result, Rejected):
            rejected.append(result)
        elif result.track_id in kept:
            rejected.append(Rejected(name, "duplicate", f"the same file as {kept[result.track_id].source}"))
        else:
            kept[result.track_id] = result
    # The path within the collection names duplicates above; only then may metadata put a source in its place.
    listed = [replace(item, **known.get(item.source, {})) for item in kept.values()]
    tracks.write_lines(output.with_name(REJECTED), rejected)
    tracks.write_lines(output, listed)
    hours = sum(item.seconds for item in listed) / 3600
    print(f"{len(listed)} tracks, {hours:.2f} hours, in {output}; left out: {tracks.counts(rejected)}.")
    if strangers := sorted(set(known) - set(found)):
        print(
            f"{metadata} names {len(strangers)} files that are not there, the first of them {strangers[0]}."
        )


def walk(folder: Path) -> Iterator[Path]:
    """Audio files of a folder and its sub-folders. Links are followed, each folder is entered once."""
    seen = set()
    for root, folders, names in os.walk(folder, followlinks=True):
        status = os.stat(root)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                yield Path(root, name)


def _read_metadata(path: Path, source: Path) -> dict[str, dict[str, Any]]:
    known = {}
    for place, values in tracks.read_json_lines(path, "give --metadata a file of JSON lines"):
        fields = tracks.metadata(values, place)
        name = values.get("path")
        if not isinstance(name, str) or not name:
            raise InputError(f"{place} has no 'path'; give the path of the file relative to {source}.")
        known[name] = fields
    return known


@dataclass(frozen=True)
class Unit:
    """A file to look into: where it is, its path within the collection, the shortest length in seconds."""

    path: str
    name: str
    minimum_seconds: float


def probe(unit: Unit) -> tuple[Unit, Track | Rejected]:
    """Decode a file and describe it, or say why it cannot be used."""
    from lightning_n2m.audio import io

    path = Path(unit.path)
    try:
        info = io.probe(path)
        if info.duration < unit.minimum_seconds:
            return unit, Rejected(
                unit.name, "too short", f"{info.duration:.2f} s, less than {unit.minimum_seconds:g} s"
            )
        energy, frames, block = 0.0, 0, _BLOCK * info.sample_rate
        for start in range(0, info.frames, block):
            # The last block is read to wherever it ends: headers of Ogg files may be some frames off.
            samples = io.read(path, start, block if start + block < info.frames else None).samples
            energy += float(samples.double().square().mean(dim=0).sum())
            frames += samples.shape[-1]
        if frames < info.frames - info.sample_rate:
            return unit, Rejected(unit.name, "unreadable", f"ends after {frames} of {info.frames} frames")
        if 10 * math.log10(energy / frames + 1e-20) < _SILENCE_DB:
            return unit, Rejected(unit.name, "silent", f"below {_SILENCE_DB} dBFS throughout")
        track_id = tracks.identity(path)
    except (InputError, OSError) as error:
        return unit, Rejected(unit.name, "unreadable", str(error).replace(unit.path, unit.name))
    found = Track(track_id, str(path.absolute()), info.sample_rate, frames, unit.name)
    return unit, replace(found, **{**_from_tags(info.tags), **_from_sidecar(path)})


def _from_tags(tags: dict[str, str]) -> dict[str, Any]:
    genre = tags.get("genre", "").strip().lower()
    named = {key: tags.get(key, "").strip() for key in ("title", "artist", "album")}
    named["year"] = tags.get("date", "").strip()[:4]
    return {
        **{key: value for key, value in named.items() if value},
        **({"genres": (genre,)} if genre else {}),
    }


def _from_sidecar(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    if not beside.is_file():
        return {}
    try:
        return tracks.metadata(json.loads(beside.read_text(encoding="utf-8")), str(beside))
    except (InputError, json.JSONDecodeError, UnicodeDecodeError):
        # Any tool may leave a .json there; what is no metadata of ours is no reason to lose the track.
        return {}
