"""The shards that a stage reads: several folders, with weights, in the form that fits the stage best."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lightning_n2m.data.cache import Cache
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.schema import INDEX, Index, read_index
from lightning_n2m.data.shard_list import ShardList
from lightning_n2m.data.shard_reader import ShardFile, find_shards
from lightning_n2m.errors import InputError
from lightning_n2m.storage import join, locate, size

Folders = str | Sequence[str] | Mapping[str, float]


@dataclass(frozen=True)
class Source:
    """Shards that are drawn from as one collection, and their share of all clips."""

    files: Sequence[ShardFile]
    weight: float = 1.0


def find_sources(
    folders: Folders, split: str, form: TrainingFormat | None = None, cache: Cache | None = None
) -> list[Source]:
    """Shards of one split: one source for a folder or a list of them, one per folder where they have weights.

    Every index is read once, and the time is linear in the number of shards.

    Args:
        folders: A folder, several that are one collection, or weights by folder.
        split: Which split.
        form: What the stage trains on: read from a derived form where a folder holds it, computed from the
            master otherwise.
        cache: Keeps local copies of downloaded shards.

    Raises:
        InputError: if a folder is not a shard folder, holds nothing of the split, a weight is not above 0, or
            a derived form belongs to other shards.
    """
    if isinstance(folders, Mapping):
        for folder, weight in folders.items():
            if not weight > 0:
                raise InputError(f"data.shards gives {folder} the weight {weight:g}; give one above 0.")
        return [
            Source(ShardList(_find_files([folder], split, form, cache)), weight)
            for folder, weight in folders.items()
        ]
    listed = [folders] if isinstance(folders, str) else list(folders)
    return [Source(ShardList(_find_files(listed, split, form, cache)))]


def _find_files(
    folders: Sequence[str], split: str, form: TrainingFormat | None, cache: Cache | None
) -> Iterator[ShardFile]:
    indices = {str(folder): read_index(folder) for folder in folders}
    # Shards of the derived forms, by folder and name.
    derived = {
        str(locate(folder)): {shard.name: shard for shard in derived_index.shards}
        for folder, index in indices.items()
        if (derived_index := _derived_index(folder, index, form)) is not None
    }
    for file in find_shards(folders, split, indices):
        shards = derived.get(str(file.folder))
        if shards is None or form is None:
            yield ShardFile(file.folder, file.shard, cache=cache)
        elif file.shard.name not in shards or shards[file.shard.name].clips != file.shard.clips:
            raise InputError(
                f"{join(file.folder, form.name)} does not list {file.shard.name} as {file.folder} does; "
                f"derive it again with 'python -m data_pipeline shard --output {file.folder} --derive "
                f"{form.name}'."
            )
        else:
            yield ShardFile(file.folder, shards[file.shard.name], form.name, cache)


def _derived_index(folder: str, index: Index, form: TrainingFormat | None) -> Index | None:
    """The index of a derived form beside the shards of a folder, if it exists and has the same settings."""
    if form is None or size(join(locate(folder), f"{form.name}/{INDEX}")) is None:
        return None
    place = join(locate(folder), form.name)
    derived = read_index(place)
    if not form.is_of(derived):
        warnings.warn(
            f"{place} was derived with other settings than the stage's; it is not used.", stacklevel=2
        )
        return None
    if derived.settings.get("parents") != form.settings(index.shards)["parents"]:
        raise InputError(
            f"{place} was derived from other shards than those of {folder}; delete it, or run 'python -m "
            f"data_pipeline shard --output {folder} --derive {form.name}' again."
        )
    return derived
