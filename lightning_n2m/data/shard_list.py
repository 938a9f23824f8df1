"""A long list of shards in columns, which a loader worker receives quickly and holds in little memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import overload

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.schema import Shard
from lightning_n2m.data.shard_reader import ShardFile
from lightning_n2m.storage import Location

_SHA256_BYTES = 32


class ShardList(Sequence[ShardFile]):
    """Shards in the order given; a `ShardFile` is built when it is accessed.

    The paper's corpus has hundreds of thousands of shards, and every loader worker of every rank holds the
    list: as objects it takes 700 bytes a shard, in columns 130.

    Args:
        files: The shards.
    """

    def __init__(self, files: Iterable[ShardFile]) -> None:
        self._names: list[str] = []
        self._splits: list[str] = []
        self._sha256 = bytearray()
        self._clips, self._bytes = array("Q"), array("Q")
        self._seconds = array("d")
        # Folder, form and cache are the same for many shards.
        self._place_numbers = array("I")
        self._places: list[tuple[Location, str, Cache | None]] = []
        numbers: dict[tuple[str, str, Cache | None], int] = {}
        for file in files:
            shard = file.shard
            self._names.append(shard.name)
            self._splits.append(shard.split)
            self._sha256 += bytes.fromhex(shard.sha256)
            self._clips.append(shard.clips)
            self._bytes.append(shard.bytes)
            self._seconds.append(shard.seconds)
            key = (str(file.folder), file.form, file.cache)
            if key not in numbers:
                numbers[key] = len(self._places)
                self._places.append((file.folder, file.form, file.cache))
            self._place_numbers.append(numbers[key])

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> ShardFile: ...

    @overload
    def __getitem__(self, index: slice) -> list[ShardFile]: ...

    def __getitem__(self, index: int | slice) -> ShardFile | list[ShardFile]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        i = range(len(self))[index]  # raises IndexError, and counts negative indices from the end
        folder, form, cache = self._places[self._place_numbers[i]]
        shard = Shard(
            name=self._names[i],
            split=self._splits[i],  # type: ignore[arg-type]
            clips=self._clips[i],
            seconds=self._seconds[i],
            bytes=self._bytes[i],
            sha256=self._sha256[i * _SHA256_BYTES : (i + 1) * _SHA256_BYTES].hex(),
        )
        return ShardFile(folder, shard, form, cache)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ShardList) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]
