"""Where a stage's clips come from: several folders, with weights, in the form that fits the stage best."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.schema import INDEX, Index, read_index
from lightning_n2m.data.shard_reader import ShardFile, find_shards
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, is_folder, join, size

Folders = str | Sequence[str] | Mapping[str, float]


@dataclass(frozen=True)
class Source:
    """Shards that are drawn from as one, and their share of all clips."""

    files: tuple[ShardFile, ...]
    weight: float = 1.0


def find_sources(
    folders: Folders, split: str, form: TrainingFormat | None = None, cache: Cache | None = None
) -> list[Source]:
    """Shards of one split: one source for a folder or a list of them, one a folder where they have weights.

    Args:
        folders: A folder, several that are one collection, or weights by folder.
        split: Which split.
        form: What the stage trains on; read where a folder holds it, made on the fly where not.
        cache: Keeps what comes from URLs.

    Raises:
        InputError: if a folder is no shard folder, holds nothing of the split, a weight is not above 0, or
            a derived form is of other shards.
    """
    if isinstance(folders, Mapping):
        for folder, weight in folders.items():
            if not weight > 0:
                raise InputError(f"data.shards gives {folder} the weight {weight:g}; give one above 0.")
        return [
            Source(tuple(_fitting([folder], split, form, cache)), weight)
            for folder, weight in folders.items()
        ]
    listed = [folders] if isinstance(folders, str) else list(folders)
    return [Source(tuple(_fitting(listed, split, form, cache)))]


def _fitting(
    folders: Sequence[str], split: str, form: TrainingFormat | None, cache: Cache | None
) -> list[ShardFile]:
    derived = {str(file): index for file in folders if (index := _derived(file, form)) is not None}
    found = []
    for file in find_shards(folders, split):
        index = derived.get(str(file.folder))
        if index is not None and form is not None:
            shard = next(item for item in index.shards if item.name == file.shard.name)
            file = ShardFile(file.folder, shard, form.name)
        found.append(dataclasses.replace(file, cache=cache))
    return found


def _derived(folder: Location, form: TrainingFormat | None) -> Index | None:
    """The index of a form beside the shards of a folder, if it is there and the right one."""
    if form is None or not is_folder(folder) or size(join(folder, f"{form.name}/{INDEX}")) is None:
        return None
    place = join(folder, form.name)
    index = read_index(place)
    if not form.is_of(index):
        warnings.warn(f"{place} was made with other settings than the stage's; it is not used.", stacklevel=2)
        return None
    if index.settings["parents"] != form.settings(read_index(folder).shards)["parents"]:
        raise InputError(
            f"{place} was derived from other shards than those of {folder}; delete it, or run 'python -m "
            f"data_pipeline shard --output {folder} --derive {form.name}' again."
        )
    return index
