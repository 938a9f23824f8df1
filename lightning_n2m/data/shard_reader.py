"""Shards of a folder, and their clips with audio still encoded."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.json_fields import FieldError, printable_reason
from lightning_n2m.data.schema import AUDIO_FORMATS, Captions, Clip, Index, Shard, read_captions, read_index
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_url, join, locate, open_read


@dataclass(frozen=True)
class RawClip:
    """A clip of a shard: metadata, encoded audio, captions, and the path of the shard."""

    clip: Clip
    audio: bytes
    captions: Captions | None
    shard: str


@dataclass(frozen=True)
class ShardFile:
    """A shard in its folder.

    Args:
        folder: A path or a URL.
        shard: Its line of the index.
        form: Sub-folder that holds it in a derived form; captions stay in ``folder``.
        cache: Keeps a local copy, if the folder is a URL.
    """

    folder: Location
    shard: Shard
    form: str = ""
    cache: Cache | None = None

    @property
    def path(self) -> Location:
        """The tar file."""
        return join(join(self.folder, self.form) if self.form else self.folder, self.shard.name)

    @property
    def captions(self) -> Location:
        """The caption file beside it, which exists if it was labelled."""
        return join(self.folder, self.shard.captions_name)

    def open(self) -> BinaryIO:
        """Open the tar file, through the cache if there is one."""
        if self.cache and is_url(self.path):
            return open_read(self.cache.fetch(self.path, self.shard.sha256, self.shard.bytes))
        return open_read(self.path)


def find_shards(
    folders: Sequence[Location], split: str, indices: Mapping[str, Index] | None = None
) -> list[ShardFile]:
    """The shards of one split over several folders, in order.

    Args:
        folders: Shard folders.
        split: Which split.
        indices: Indices that were already read, by folder.

    Raises:
        InputError: if a folder is not a shard folder, or none of them holds this split.
    """
    indices = indices or {}
    files = [
        ShardFile(locate(folder), shard)
        for folder in folders
        for shard in (indices.get(str(folder)) or read_index(folder)).shards
        if shard.split == split and shard.clips
    ]
    if not files:
        places = ", ".join(map(str, folders))
        raise InputError(
            f"{places} holds no {split} clips; build shards from more tracks, or set the share of this split."
        )
    return files


def read_shard(file: ShardFile) -> Iterator[RawClip]:
    """All clips of a shard, with their audio still encoded.

    Raises:
        InputError: if the tar file is missing, cut short, lacks a member, holds a link or a device, or
            promises more audio than the index.
    """
    import webdataset  # imported late: it imports torch, and the help of a command must come at once

    captions = read_captions(file.captions)
    keys: set[str] = set()
    clips, seconds = 0, 0.0
    try:
        with file.open() as stream:
            for sample in webdataset.tariterators.group_by_keys(_members(stream, file.shard.bytes)):
                clip, audio = _parse_sample(sample)
                if clip.key in keys:
                    raise FieldError(f"clip {clip.key} is in it twice")
                keys.add(clip.key)
                clips, seconds = clips + 1, seconds + clip.duration_s
                # A decoder allocates what a clip promises, so that a promise must fit the index.
                if seconds > 1.001 * file.shard.seconds + 0.01:
                    raise FieldError(f"its clips are longer than the {file.shard.seconds:g} s of the index")
                yield RawClip(clip, audio, captions.get(clip.key), str(file.path))
    except Exception as error:  # tar, JSON and webdataset each raise their own kinds
        if isinstance(error, InputError) and not isinstance(error, FieldError):
            raise
        raise InputError(
            f"Shard {file.path} is damaged after {clips} clips ({_reason(error)}); build it again."
        ) from error
    if clips != file.shard.clips:
        raise InputError(
            f"Shard {file.path} holds {clips} clips, but its index says {file.shard.clips}; build it again."
        )


def _parse_sample(sample: dict[str, Any]) -> tuple[Clip, bytes]:
    """The members of one key, as `webdataset` groups them."""
    key = ascii(sample["__key__"])[1:-1]
    audio = next((sample[kind] for kind in AUDIO_FORMATS if kind in sample), None)
    if audio is None or "json" not in sample:
        raise FieldError(f"{key} has no {'audio' if audio is None else 'json'}")
    clip = Clip.from_json(sample["json"])
    if clip.key != sample["__key__"]:
        raise FieldError(f"{key} describes {clip.key}")
    return clip, audio


def _reason(error: Exception) -> str:
    """What went wrong, on one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # webdataset adds the stream and its path to the arguments of an exception.
    first = str(error.args[0] if error.args else "").partition(" @ <")[0]
    return printable_reason(type(error)(first)) if first else type(error).__name__


def _members(stream: BinaryIO, limit: int) -> Iterator[dict[str, Any]]:
    """Files of a tar as `webdataset` groups them, in a third of the time of its own streaming reader.

    Args:
        stream: The tar file.
        limit: Bytes of the tar file by the index; no member can have more.
    """
    position = -1
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            name = ascii(member.name)[1:-1]
            # A negative size moves the reader back to a header that it has already read, without end.
            if member.size < 0 or member.offset <= position:
                raise FieldError(f"the size of {name} is not valid")
            position = member.offset
            if member.isdir():
                continue
            if not member.isreg() or member.issparse():
                raise FieldError(f"{name} is a link, a device or a sparse file")
            if member.size > limit:
                raise FieldError(f"{name} has {member.size} bytes, more than its shard")
            stream.seek(member.offset_data)
            data = stream.read(member.size)
            if len(data) < member.size:
                raise EOFError(f"{name} is cut short")
            yield {"fname": member.name, "data": data, "__url__": ""}
