"""The shard contract: what the data pipeline writes and the loader reads.

A shard folder holds::

    index.json               shards with counts, bytes, checksum and split
    audio-000123.tar         KEY.flac or KEY.opus (24 kHz mono) and KEY.json (a `Clip`) per clip
    captions-000123.jsonl    a `Captions` line per clip, by KEY; rewritten without changing the audio
    3200/, mel/              the same clips at a low rate or as log-mels, KEY.npy; each with an index.json

Splits go by track, never by clip: six clips of one song in both splits would leak.

A shard folder may come from a stranger. Every field is checked on reading (`field_rules`), so that names,
keys and checksums are safe as parts of a file name, and numbers are finite and in range.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict

from lightning_n2m.data import field_rules
from lightning_n2m.data.json_fields import FieldError, build, parse_json
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_folder, join, read_bytes, size

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "validation", "test"]
SAMPLE_RATE = 24_000
INDEX = "index.json"
TEXT_FOLDER = "text"  # Sub-folder of the text vectors that `derive-text` computes.
FORMAT = 1
# Endings under which a shard may hold a clip; arrays are derived forms.
AUDIO_FORMATS = ("flac", "opus", "ogg", "wav", "npy")


@dataclass(frozen=True, kw_only=True)
class TrackMetadata:
    """What is known of a track besides its audio; a manifest's track and a shard's clip share it.

    Args:
        title: Title of the track; empty when unknown, as all text fields.
        artist: Artist or composer.
        album: Album or collection.
        year: Year of release, as text.
        genres: Genres, most specific first.
        tags: Further short tags: instruments, moods, tempo words.
        descriptions: Sentences about the track from its publisher.
        licence: Licence of the recording.
        source: Origin of the track: a path relative to its collection, or a URL.
        truth: Exact facts, for instance of rendered music: tempo, key, instruments.
        split: Split that the collection itself assigns; empty where it was drawn (`split_of`).
    """

    title: str = ""
    artist: str = ""
    album: str = ""
    year: str = ""
    genres: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    descriptions: tuple[str, ...] = ()
    licence: str = ""
    source: str = ""
    truth: dict[str, Any] = field(default_factory=dict)
    split: Split | Literal[""] = ""

    def metadata(self) -> dict[str, Any]:
        """The fields of this class only, as keyword arguments for another class that shares them."""
        return {item.name: getattr(self, item.name) for item in dataclasses.fields(TrackMetadata)}


@dataclass(frozen=True)
class Clip(TrackMetadata):
    """What is known of one clip; the fields of `TrackMetadata` describe its track.

    Args:
        track_id: Identity of the track, from its content: 16 hexadecimal digits.
        clip: Number of the clip within its track, from 0.
        start_s: Start of the clip in its track, in seconds.
        duration_s: Length in seconds.
        sample_rate: Rate of the stored audio in Hz.
    """

    track_id: str
    clip: int
    start_s: float
    duration_s: float
    sample_rate: int

    @property
    def key(self) -> str:
        """Name of the clip inside its shard: without dots, at which webdataset would cut it."""
        return f"{self.track_id}-{self.clip:02d}"

    def to_json(self) -> bytes:
        """The bytes of ``KEY.json``; equal clips give equal bytes."""
        values = dataclasses.asdict(self)
        try:
            return json.dumps(values, ensure_ascii=False, sort_keys=True).encode()
        except UnicodeEncodeError:  # Halves of characters, as damaged tags hold them, go only as escapes.
            return json.dumps(values, sort_keys=True).encode()

    @staticmethod
    def from_json(data: bytes | str) -> Clip:
        """Read ``KEY.json``; fields that a newer version added are skipped.

        Raises:
            FieldError: if a field has a wrong type, range or pattern.
        """
        return build(Clip, parse_json(data, field_rules.MAX_LINE), field_rules.CLIP)


@dataclass(frozen=True)
class Captions:
    """Pseudo-labels of one clip: long ones are used one at a time, short ones are packed together."""

    key: str
    long: tuple[str, ...] = ()
    short: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of ``captions-*.jsonl``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Shard:
    """One line of the index: a tar file, its content, and its size and checksum."""

    name: str
    split: Split
    clips: int
    seconds: float
    bytes: int
    sha256: str

    @property
    def captions_name(self) -> str:
        """Name of the caption file beside the shard."""
        return self.name.replace("audio-", "captions-", 1).removesuffix(".tar") + ".jsonl"


@dataclass(frozen=True)
class Index:
    """``index.json``: the shards of a folder, in order, and the settings that they were built with."""

    shards: tuple[Shard, ...]
    sample_rate: int = SAMPLE_RATE
    clip_seconds: float = 30.0
    settings: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def of(self, split: Split) -> tuple[Shard, ...]:
        """The shards of one split that hold at least one clip."""
        return tuple(shard for shard in self.shards if shard.split == split and shard.clips)

    def to_json(self) -> str:
        """The text of ``index.json``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"


def read_index(folder: Location) -> Index:
    """Read and check ``index.json`` of a shard folder, a path or a URL.

    Raises:
        InputError: if the folder or its index is missing, unreadable or of another format.
    """
    path = join(folder, INDEX)
    if not is_folder(folder):
        raise InputError(
            f"The shard folder {folder} does not exist; build it with 'python -m data_pipeline shard'."
        )
    index_bytes = size(path)
    if index_bytes is None:
        raise InputError(
            f"{folder} holds no {INDEX}, so it is no finished shard folder; "
            "run 'python -m data_pipeline shard' on it."
        )
    if index_bytes > field_rules.MAX_INDEX:
        raise InputError(f"{path} has {index_bytes} bytes, too many for an index; build the shards again.")
    try:
        values = parse_json(read_bytes(path), field_rules.MAX_INDEX)
        if isinstance(values, dict) and isinstance(values.get("format"), int) and values["format"] != FORMAT:
            raise InputError(
                f"{path} has format {values['format']}, but this version reads {FORMAT}; "
                "build the shards again."
            )
        index = _build_index(values)
    except FieldError as error:
        raise InputError(f"{path} is damaged ({error}); build the shards again.") from error
    if not any(shard.clips for shard in index.shards):
        raise InputError(
            f"{folder} holds no clips; give 'python -m data_pipeline shard' a manifest with usable tracks."
        )
    return index


def _build_index(values: Any) -> Index:
    if not isinstance(values, dict) or not isinstance(values.get("shards"), list):
        raise FieldError("its list of shards is missing")
    names: set[str] = set()
    for position, fields in enumerate(values["shards"]):
        try:
            shard = values["shards"][position] = read_shard_fields(fields)
        except FieldError as error:
            raise FieldError(f"shards[{position}]: {error}") from None
        if shard.name in names:
            raise FieldError(f"shards[{position}]: {shard.name} is listed twice")
        names.add(shard.name)
    if "format" not in values:
        raise FieldError("format is missing")
    index = build(Index, values, field_rules.INDEX)
    # A decoder allocates what a clip promises, so that a promise must fit the index.
    for shard in index.shards:
        if shard.seconds > 1.001 * shard.clips * index.clip_seconds:
            raise FieldError(f"{shard.name} has more seconds than clips of {index.clip_seconds:g} s")
    return index


def read_shard_fields(values: Any) -> Shard:
    """Check one parsed line of the index.

    Raises:
        FieldError: if a field has a wrong type, range or pattern.
    """
    return build(Shard, values, field_rules.SHARD)


def read_captions(path: Location) -> dict[str, Captions]:
    """Read a ``captions-*.jsonl`` by key; a missing file holds no captions.

    Raises:
        InputError: if a line is not a `Captions` object.
    """
    caption_bytes = size(path)
    if caption_bytes is None:
        return {}
    if caption_bytes > field_rules.MAX_CAPTIONS:
        raise InputError(f"{path} has {caption_bytes} bytes, too many for captions; label the shards again.")
    captions_of: dict[str, Captions] = {}
    # Not str.splitlines, which would also cut at line separators that are part of a caption.
    for line_number, line in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            captions = build(Captions, parse_json(line, field_rules.MAX_LINE), field_rules.CAPTIONS)
        except FieldError as error:
            raise InputError(
                f"{path}, line {line_number}, is damaged ({error}); label the shards again."
            ) from error
        captions_of[captions.key] = captions
    return captions_of


def split_of(track_id: str, validation: float = 0.05, test: float = 0.05) -> Split:
    """Split that a track belongs to: a hash of its identity, so that it never moves.

    Args:
        track_id: Identity of the track.
        validation: Share of tracks that validate.
        test: Share of tracks that test.
    """
    draw = int.from_bytes(hashlib.sha256(f"split {track_id}".encode()).digest()[:8], "big") / 2**64
    if draw < test:
        return "test"
    return "validation" if draw < test + validation else "train"


class Batch(TypedDict):
    """What a loader hands to a stage.

    ``audio`` is ``(b, 1, t)`` at the stage's rate; a stage that trains on log-mels gets ``mel``,
    ``(b, channels, frames)``, in its place. ``number`` ``(b,)`` counts samples over the whole
    training and over all ranks: every random draw of a sample follows from it. ``stream`` and ``position``
    ``(b,)`` are its place in the stream that it was read from, which belongs to one rank and worker.
    ``numbers`` holds tempo, key and beats ``(b,)``, for a network that takes them
    (`lightning_n2m.conditioning.numbers.to_batch`). ``features`` ``(b, channels, frames)`` by name are for
    auxiliary losses.
    """

    audio: NotRequired[Tensor]
    mel: NotRequired[Tensor]
    numbers: NotRequired[dict[str, Tensor]]
    caption: list[str]
    key: list[str]
    number: Tensor
    stream: NotRequired[Tensor]
    position: NotRequired[Tensor]
    features: NotRequired[dict[str, Tensor]]


def stream_positions(batch: Batch) -> tuple[list[int], list[int]]:
    """Stream of each sample of a batch, and its position there; without streams, one with the numbers."""
    if "stream" in batch:
        return batch["stream"].tolist(), batch["position"].tolist()
    numbers = batch["number"].tolist()
    return [0] * len(numbers), numbers
