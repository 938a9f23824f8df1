"""A shard as it lies in its folder, and the clips in it, undecoded."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.schema import AUDIO_FORMATS, Captions, Clip, Shard, read_captions, read_index
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_url, join, locate, open_read


@dataclass(frozen=True)
class RawClip:
    """A clip as it lies in its shard: encoded audio, what is known of it, and where it came from."""

    clip: Clip
    audio: bytes
    captions: Captions | None
    shard: str


@dataclass(frozen=True)
class ShardFile:
    """A shard and the folder that it lies in.

    Args:
        folder: A path or a URL.
        shard: Its line of the index.
        form: Sub-folder that holds it in a derived form; captions stay where the master lies.
        cache: Keeps it on this machine, if its folder is a URL.
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
        """The caption file that lies beside it, if it was labelled."""
        return join(self.folder, self.shard.captions_name)

    def open(self) -> BinaryIO:
        """The tar file's bytes, over the cache if there is one."""
        if self.cache and is_url(self.path):
            return open_read(self.cache.fetch(self.path, self.shard.sha256, self.shard.bytes))
        return open_read(self.path)


def find_shards(folders: Sequence[Location], split: str) -> list[ShardFile]:
    """The shards of one split over several folders, in order.

    Raises:
        InputError: if a folder is no shard folder, or none of them holds this split.
    """
    found = [
        ShardFile(locate(folder), shard)
        for folder in folders
        for shard in read_index(folder).shards
        if shard.split == split and shard.clips
    ]
    if not found:
        places = ", ".join(map(str, folders))
        raise InputError(
            f"{places} holds no {split} clips; build shards from more tracks, or set the share of this split."
        )
    return found


def read_shard(file: ShardFile) -> Iterator[RawClip]:
    """All clips of a shard, undecoded.

    Raises:
        InputError: if the tar file is missing, cut short, or lacks a member.
    """
    import webdataset  # here, since it brings torch, and the help of a command should come at once

    captions = read_captions(file.captions)
    number = 0
    try:
        with file.open() as stream:
            for sample in webdataset.tariterators.group_by_keys(_members(stream)):
                audio = next((sample[kind] for kind in AUDIO_FORMATS if kind in sample), None)
                if audio is None or "json" not in sample:
                    missing = "audio" if audio is None else "json"
                    raise ValueError(f"{sample['__key__']} has no {missing}")
                clip = Clip.from_json(sample["json"])
                if clip.key != sample["__key__"]:
                    raise ValueError(f"{sample['__key__']} describes {clip.key}")
                yield RawClip(clip, audio, captions.get(clip.key), str(file.path))
                number += 1
    except Exception as error:  # tar, JSON and webdataset each raise their own kinds
        # webdataset adds the stream and its path to the arguments of whatever went wrong.
        words = error.strerror if isinstance(error, OSError) else str(error.args[0] if error.args else "")
        reason = (words or type(error).__name__).splitlines()[0].partition(" @ <")[0]
        raise InputError(
            f"Shard {file.path} is damaged after {number} clips ({reason}); build it again."
        ) from error
    if number != file.shard.clips:
        raise InputError(
            f"Shard {file.path} holds {number} clips, but its index says {file.shard.clips}; build it again."
        )


def _members(stream: BinaryIO) -> Iterator[dict[str, Any]]:
    """Files of a tar, as webdataset groups them; a third of the time that its own streaming reader takes."""
    with tarfile.open(fileobj=stream, mode="r:") as tar:
        for member in tar:
            if member.isreg():
                stream.seek(member.offset_data)
                data = stream.read(member.size)
                if len(data) < member.size:
                    raise EOFError(f"{member.name} is cut short")
                yield {"fname": member.name, "data": data, "__url__": ""}
