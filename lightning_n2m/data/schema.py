"""The shard contract: what the data pipeline writes and the loader reads.

A shard folder holds::

    index.json               shards with counts, bytes, checksum and split
    audio-000123.tar         KEY.flac or KEY.opus (24 kHz mono) and KEY.json (a `Clip`) per clip
    captions-000123.jsonl    a `Captions` line per clip, found by KEY; rewritten without touching audio
    3200/, mel/              the same clips at a low rate or as log-mels, KEY.npy; each with an index.json

Splits go by track, never by clip: six clips of one song in both splits would leak.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NotRequired, TypedDict, TypeVar

from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_folder, join, read_bytes, size

if TYPE_CHECKING:
    from torch import Tensor

Split = Literal["train", "validation", "test"]
T = TypeVar("T")
SAMPLE_RATE = 24_000
INDEX = "index.json"
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
        """Read ``KEY.json``; fields that a newer version added are passed over."""
        return _from_fields(Clip, json.loads(data))


@dataclass(frozen=True)
class Captions:
    """Pseudo-labels of one clip: long sentences apart, short ones to be packed together."""

    key: str
    long: tuple[str, ...] = ()
    short: tuple[str, ...] = ()

    def to_json(self) -> str:
        """One line of ``captions-*.jsonl``."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, sort_keys=True)


@dataclass(frozen=True)
class Shard:
    """One line of the index: a tar file, what it holds, and how to know that it is whole."""

    name: str
    split: Split
    clips: int
    seconds: float
    bytes: int
    sha256: str

    @property
    def captions_name(self) -> str:
        """Name of the caption file that lies beside the shard."""
        return self.name.replace("audio-", "captions-", 1).removesuffix(".tar") + ".jsonl"


@dataclass(frozen=True)
class Index:
    """``index.json``: the shards of a folder, in order, and the settings that made them."""

    shards: tuple[Shard, ...]
    sample_rate: int = SAMPLE_RATE
    clip_seconds: float = 30.0
    settings: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def of(self, split: Split) -> tuple[Shard, ...]:
        """The shards of one split that hold any clip."""
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
    if size(path) is None:
        raise InputError(
            f"{folder} holds no {INDEX}, so it is no finished shard folder; "
            "run 'python -m data_pipeline shard' on it."
        )
    try:
        fields = json.loads(read_bytes(path))
        if fields["format"] != FORMAT:
            raise InputError(
                f"{path} has format {fields['format']}, but this version reads {FORMAT}; "
                "build the shards again."
            )
        fields["shards"] = tuple(_from_fields(Shard, shard) for shard in fields["shards"])
        index = _from_fields(Index, fields)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}); run 'python -m data_pipeline shard' again."
        ) from error
    if not any(shard.clips for shard in index.shards):
        raise InputError(
            f"{folder} holds no clips; give 'python -m data_pipeline shard' a manifest with usable tracks."
        )
    return index


def read_captions(path: Location) -> dict[str, Captions]:
    """Read a ``captions-*.jsonl`` by key; a file that is not there yet holds nothing.

    Raises:
        InputError: if a line is not a `Captions` object.
    """
    if size(path) is None:
        return {}
    found = {}
    # Not str.splitlines, which would also cut at line separators that are part of a caption.
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            captions: Captions = _from_fields(Captions, json.loads(line))
        except (json.JSONDecodeError, UnicodeDecodeError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path}, line {number}, is damaged ({error}); label the shards again."
            ) from error
        found[captions.key] = captions
    return found


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


def _from_fields(kind: type[T], values: dict[str, Any]) -> T:
    """Build a dataclass from JSON: lists become tuples, unknown fields are passed over."""
    known = {f.name for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


class Batch(TypedDict):
    """What a loader hands to a stage.

    ``audio`` is ``(b, 1, t)`` at the stage's rate; a stage that trains on log-mels gets ``mel``,
    ``(b, channels, frames)``, in its place. ``number`` ``(b,)`` counts samples over the whole
    training and over all ranks: every random draw of a sample follows from it.
    """

    audio: NotRequired[Tensor]
    mel: NotRequired[Tensor]
    caption: list[str]
    key: list[str]
    number: Tensor
