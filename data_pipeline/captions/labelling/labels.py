"""The labels from one vocabulary: nearest captions, their counts, and those that were drawn."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.captions.embeddings import Embeddings
from data_pipeline.captions.labelling.draw import draw
from data_pipeline.captions.vocabulary.table import Name, Texts
from lightning_n2m.data.schema import Captions, Clip, Shard
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.arrays import map_array
from lightning_n2m.storage import join, locate, write_atomic


@dataclass(frozen=True)
class Labels:
    """Labels from one vocabulary.

    Args:
        embeddings: The folder that holds the nearest captions.
        texts: The vocabulary.
        top: Nearest captions of a clip (K).
        keep: Captions that a clip keeps (K').
        seed: Seed of the draw.
        counts: How often each caption is among the nearest, over all clips.
    """

    embeddings: Embeddings
    texts: Texts
    top: int
    keep: int
    seed: int
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def counted(self, shards: Sequence[Shard]) -> Labels:
        """These labels with the counts over some shards."""
        counts = np.zeros(len(self.texts.texts), np.int64)
        for shard in shards:
            counts += np.bincount(self.nearest(shard).ravel(), minlength=len(counts))
        return replace(self, counts=counts)

    def clips(self, shard: Shard) -> list[Clip]:
        """The clips of a shard."""
        return self.embeddings.read_clips(shard)[0]

    def nearest(self, shard: Shard) -> NDArray[np.int32]:
        """Numbers of the nearest captions of the clips of a shard, nearest first, ``(clips, top)``.

        Raises:
            InputError: if the file is damaged.
        """
        path = self.embeddings.nearest(shard, self.texts, self.top)
        remedy = "delete it and label again"
        numbers: NDArray[np.int32] = map_array(path, np.int32, (shard.clips, self.top), remedy)
        if not 0 <= numbers.min() <= numbers.max() < len(self.texts.texts):
            raise InputError(f"{path} is damaged (it names captions that do not exist); {remedy}.")
        return numbers

    def positions(self, shard: Shard) -> list[list[int]]:
        """Numbers of the captions that were drawn for each clip of a shard."""
        drawn = []
        for clip, row in zip(self.clips(shard), self.nearest(shard).tolist(), strict=True):
            texts = [self.texts.texts[number] for number in row]
            counts = self.counts[row].tolist()
            drawn.append([row[i] for i in draw(self.seed, clip.key, texts, counts, self.keep)])
        return drawn

    def drawn(self, shard: Shard) -> list[tuple[str, ...]]:
        """The captions that were drawn for each clip of a shard."""
        return [tuple(self.texts.texts[number] for number in row) for row in self.positions(shard)]


def write_labels(folder: str, shards: Sequence[Shard], labels: Sequence[Labels]) -> None:
    """Write captions-*.jsonl beside the shards, each file atomically."""
    for shard in shards:
        lines = []
        drawn = {item.texts.vocabulary: item.drawn(shard) for item in labels}
        for number, clip in enumerate(labels[0].clips(shard)):
            captions = {name: rows[number] for name, rows in drawn.items()}
            long = tuple(dict.fromkeys((*captions.get("lm-lf", ()), *captions.get("rater-lf", ()))))
            lines.append(Captions(clip.key, long, captions.get("rater-sf", ())).to_json() + "\n")
        write_atomic(join(locate(folder), shard.captions_name), "".join(lines))


def print_summary(
    shards: str,
    labelled: Sequence[Shard],
    used: Sequence[Texts],
    labels: Mapping[Name, Labels],
    report: Path | None,
    mulamcap: Path | None,
) -> None:
    """Print what was labelled, from what, and what to run next.

    Args:
        shards: The shard folder.
        labelled: Its shards.
        used: Vocabularies that the captions were drawn from.
        labels: Labels by the name of their vocabulary.
        report: Folder of the report, if one was written.
        mulamcap: Folder of the data set, if one was written.
    """
    clips = sum(shard.clips for shard in labelled)
    names = ", ".join(part.vocabulary for part in used)
    print(
        f"{clips} clips in {len(labelled)} shards are labelled: captions-*.jsonl in {shards}, from {names}."
    )
    for name, item in labels.items():
        nearest, size = int((item.counts > 0).sum()), len(item.texts.texts)
        print(
            f"{name}: {item.keep} per clip; {nearest} of {size} captions are among the {item.top} nearest of "
            "any clip."
        )
    for kind, folder in (("Report", report), ("Data set", mulamcap)):
        if folder:
            print(f"{kind}: {folder}")
    recipe = "configs/starter/spectrogram_generator.yaml"
    print(f"Next: python -m lightning_n2m fit -c {recipe} --data.shards {shlex.quote(str(shards))}")
