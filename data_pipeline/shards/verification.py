"""The checks of `verify`: whether training, statistics and labelling can read every shard."""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lightning_n2m.data.schema import (
    INDEX,
    SAMPLE_RATE,
    Index,
    Shard,
    read_captions,
    read_index,
    split_of,
)
from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, join, names, open_read, size

if TYPE_CHECKING:
    from lightning_n2m.data.derived_audio import TrainingFormat

_FORM = re.compile(r"mel|[1-9][0-9]{0,5}")


@dataclass(frozen=True)
class Problem:
    """A problem and the shard (or file) that has it."""

    shard: str
    problem: str


@dataclass(frozen=True)
class CheckedShard:
    """A shard after its check: number of clips, identities of the tracks as integers, and problems."""

    shard: Shard
    clips: int
    tracks: array[int]
    problems: tuple[Problem, ...]


def folder_problems(folder: Location, index: Index) -> Iterator[Problem]:
    """Problems that the names and the index of a folder show without reading a shard."""
    if index.sample_rate != SAMPLE_RATE:
        yield Problem(INDEX, f"clips are at {index.sample_rate} Hz, but training reads {SAMPLE_RATE} Hz")
    listed = {shard.name for shard in index.shards}
    for name in names(folder):
        if name.startswith("audio-") and name.endswith(".tar") and name not in listed:
            yield Problem(ascii(name)[1:-1], "the index does not list it")


def repeated_tracks(tracks: array[int]) -> Iterator[Problem]:
    """Tracks that several shards hold.

    Args:
        tracks: Identities of the tracks of all shards, each once a shard.
    """
    import numpy as np

    ordered = np.sort(np.frombuffer(tracks, np.uint64)) if tracks else np.zeros(0, np.uint64)
    for track in np.unique(ordered[1:][ordered[1:] == ordered[:-1]]):
        yield Problem(INDEX, f"track {track:016x} lies in more than one shard")


def check_shard(shard: Shard, folder: Location, index: Index) -> CheckedShard:
    """Read one shard from end to end, as training would."""
    file = ShardFile(folder, shard)
    tracks: set[int] = set()
    keys: set[str] = set()
    reasons: list[str] = []
    try:
        reasons += _file_problems(file)
        for raw in read_shard(file):
            reasons += _clip_problems(raw, shard, index)
            keys.add(raw.clip.key)
            tracks.add(_track_number(raw.clip.track_id))
        if unknown := sorted(set(read_captions(file.captions)) - keys):
            reasons.append(f"{shard.captions_name} labels {unknown[0]}, which is not in it")
    except (InputError, OSError) as error:
        reasons.append(str(error).rstrip("."))
    problems = tuple(Problem(shard.name, reason) for reason in reasons)
    return CheckedShard(shard, len(keys), array("Q", sorted(tracks)), problems)


def derived_forms(folder: Location) -> list[str]:
    """Names of the sub-folders that hold the shards in a derived form."""
    forms = (name for name in names(folder, "directory") if _FORM.fullmatch(name))
    return [name for name in forms if size(join(folder, f"{name}/{INDEX}")) is not None]


def check_derived_index(folder: Location, index: Index, name: str) -> tuple[Index | None, list[Problem]]:
    """Compare the index of a derived form with the index of the shards.

    Returns:
        The derived index, none if no stage could read it; and the problems.
    """
    where = f"{name}/{INDEX}"
    try:
        derived = read_index(join(folder, name))
        form = _form_of(derived)
    except InputError as error:
        return None, [Problem(where, str(error).rstrip("."))]
    problems = []
    if form.name != name or derived.sample_rate != form.sample_rate:
        problems.append(Problem(where, f"it describes the form {form.name} at {derived.sample_rate} Hz"))
    if derived.settings.get("parents") != form.settings(index.shards)["parents"]:
        problems.append(Problem(where, "it was derived from other shards; derive it again"))
    contents = [
        [(item.name, item.split, item.clips) for item in listing.shards] for listing in (index, derived)
    ]
    if contents[0] != contents[1]:
        problems.append(Problem(where, "its shards have other names, splits or clips; derive it again"))
    return derived, problems


def check_derived_shard(shard: Shard, folder: Location, index: Index, name: str) -> tuple[int, list[Problem]]:
    """Read one shard of a derived form.

    Args:
        shard: Its line of the derived index.
        folder: Folder of the masters.
        index: The derived index.
        name: Name of the form.

    Returns:
        Number of clips by the index, and the problems.
    """
    from lightning_n2m.data.derived_audio import derived_shape

    file, form = ShardFile(folder, shard, name), _form_of(index)
    reasons: list[str] = []
    try:
        reasons += _file_problems(file)
        for raw in read_shard(file):
            steps, channels = derived_shape(raw.audio)
            # A log-mel of centred windows has one frame more than its clip has hops.
            expected = form.length(raw.clip.duration_s)
            if channels != form.channels or not expected <= steps <= expected + 1:
                reasons.append(
                    f"clip {raw.clip.key} has the shape ({steps}, {channels}), but ({expected}, "
                    f"{form.channels}) is expected"
                )
    except (InputError, ValueError, OSError) as error:
        reasons.append(str(error).rstrip("."))
    return shard.clips, [Problem(f"{name}/{shard.name}", reason) for reason in reasons]


def _form_of(index: Index) -> TrainingFormat:
    from lightning_n2m.audio.mel import MelSettings
    from lightning_n2m.data.derived_audio import TrainingFormat

    mel = index.settings.get("mel")
    try:
        settings = None if mel is None else MelSettings(**mel)
        return TrainingFormat(index.settings["sample_rate"], settings)
    except (TypeError, KeyError) as error:
        raise InputError(f"its settings describe no form ({error})") from error


def _track_number(track_id: str) -> int:
    if not re.fullmatch(r"[0-9a-f]{16}", track_id):
        raise InputError(f"track {track_id} is not named by 16 hexadecimal digits")
    return int(track_id, 16)


def _file_problems(file: ShardFile) -> Iterator[str]:
    file_bytes = size(file.path)
    if file_bytes is None:
        yield "it is missing"
    elif file_bytes != file.shard.bytes:
        yield f"it has {file_bytes} bytes, but its index says {file.shard.bytes}"
    else:
        with open_read(file.path) as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.shard.sha256:  # type: ignore[arg-type]
                yield "its checksum is not the one in the index"


def _clip_problems(raw: RawClip, shard: Shard, index: Index) -> Iterator[str]:
    import torch

    from lightning_n2m.audio import io
    from lightning_n2m.data.clip_audio import probe_clip

    key, clip = raw.clip.key, raw.clip
    try:
        info = probe_clip(raw)
    except InputError as error:
        yield f"clip {key}: {str(error).rstrip('.')}"
        return
    if info.sample_rate != index.sample_rate:
        yield f"clip {key} is at {info.sample_rate} Hz, but the index says {index.sample_rate} Hz"
    if info.channels != 1:
        yield f"clip {key} has {info.channels} channels"
    if clip.duration_s > 1.001 * index.clip_seconds:
        yield f"clip {key} has {clip.duration_s:g} s, but the index says {index.clip_seconds:g} s"
    if info.frames != round(clip.duration_s * info.sample_rate):
        yield f"clip {key} is {info.duration:.3f} s long, but its metadata says {clip.duration_s:g} s"
    try:
        samples = io.read(raw.audio).samples
    except InputError as error:
        yield f"clip {key}: {str(error).rstrip('.')}"
        return
    if samples.shape[-1] != info.frames:
        yield f"clip {key} ends after {samples.shape[-1]} of its {info.frames} samples"
    if not torch.isfinite(samples).all():
        yield f"clip {key} holds NaN or infinite samples"
    shares = [index.settings.get(name) for name in ("validation", "test")]
    if None not in shares and (clip.split or split_of(clip.track_id, *shares)) != shard.split:  # type: ignore[arg-type]
        yield f"clip {key} belongs to another split than {shard.split}"
