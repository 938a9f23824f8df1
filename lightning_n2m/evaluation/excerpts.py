"""The evaluated excerpts of generated clips and references, as files of an evaluation's folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from lightning_n2m.audio.io import probe, read, to_mono, write
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.clip_features import ClipFeatures
from lightning_n2m.evaluation.reference_embeddings import RATE, excerpt, is_long_enough
from lightning_n2m.evaluation.tagger import predict_tags


@dataclass(frozen=True)
class Excerpts:
    """The middle of generated clips and of their references, all of one length, read one by one.

    Args:
        items: Prompts whose reference is long enough.
        seconds: Length of the excerpts.
        folder: Folder of the evaluation, with ``generated`` and ``references``.
        evaluation_set: Where references come from.
        notes: Sentences for the reader.
    """

    items: Sequence[EvaluationItem]
    seconds: float
    folder: Path
    evaluation_set: EvaluationSet
    notes: tuple[str, ...] = ()

    @staticmethod
    def of(evaluation_set: EvaluationSet, folder: Path) -> Excerpts:
        """Choose the length of the excerpts: the set's own, or that of the longest clips if they are shorter.

        Args:
            evaluation_set: The evaluation set, whose clips lie in ``FOLDER/generated``.
            folder: Folder of the evaluation.

        Raises:
            InputError: if a generated clip is missing.
        """
        items = evaluation_set.items()
        lengths = [evaluation_set.reference_seconds(item) for item in items]
        generated = [probe(_generated(folder, item)).duration for item in items]
        seconds = min(evaluation_set.excerpt_seconds, max(lengths), min(generated))
        kept = [item for item, length in zip(items, lengths, strict=True) if is_long_enough(length, seconds)]
        notes = []
        if len(kept) < len(items):
            notes.append(
                f"{len(items) - len(kept)} of {len(items)} prompts are skipped: their references are shorter "
                f"than {seconds:g} s."
            )
        return Excerpts(kept, seconds, folder, evaluation_set, tuple(notes))

    @property
    def samples(self) -> int:
        """Samples of an excerpt at 16 kHz."""
        return round(self.seconds * RATE)

    def generated(self) -> Iterator[Tensor]:
        """Excerpts of the generated clips at 16 kHz, ``(1, t)``, in the order of the items."""
        for item in self.items:
            audio = read(_generated(self.folder, item))
            yield self._cut(item.key, resample_file(to_mono(audio.samples), audio.sample_rate, RATE))

    def references(self) -> Iterator[Tensor]:
        """Excerpts of the references at 16 kHz, ``(1, t)``, once `write_references` has written them."""
        for item in self.items:
            yield read(self.folder / "references" / f"{item.key}.flac").samples

    def write_references(
        self, compute: Callable[[Iterator[Tensor]], ClipFeatures], device: torch.device | str
    ) -> tuple[ClipFeatures, Tensor | None]:
        """Write the excerpts of the references, and compute their features on the way.

        Args:
            compute: Computes features of excerpts.
            device: Where the tagger computes.

        Returns:
            Features in the order of the items, and tags of another part of each reference, none if one is too
            short to have another part.

        Raises:
            InputError: if a reference is missing, or shorter than its metadata say.
        """
        folder = self.folder / "references"
        folder.mkdir(exist_ok=True)
        keys: list[str] = []
        other_logits: list[Tensor] = []

        def excerpts() -> Iterator[Tensor]:
            # References come in the order of their files, not in that of the items.
            for key, audio in self.evaluation_set.references(self.items, RATE):
                part = self._cut(key, audio)
                keys.append(key)
                write(folder / f"{key}.flac", part, RATE)
                # The start of a clip three times as long does not overlap with its middle.
                if audio.shape[-1] >= 3 * self.samples:
                    start = audio[None, :, : self.samples].to(device)
                    other_logits.append(predict_tags(start, RATE).logits.cpu())
                yield part

        features = compute(excerpts())
        place = {key: number for number, key in enumerate(keys)}
        if missing := [item.key for item in self.items if item.key not in place]:
            raise InputError(f"The reference of {missing[0]} is missing in {self.evaluation_set.name}.")
        order = [place[item.key] for item in self.items]
        complete = len(other_logits) == len(keys)
        return features.take(order), torch.cat(other_logits)[order] if complete else None

    def _cut(self, key: str, audio: Tensor) -> Tensor:
        part = excerpt(audio, RATE, self.seconds)
        if part is None:
            raise InputError(
                f"The clip {key} has only {audio.shape[-1] / RATE:.3g} s, but its metadata say that it is at "
                f"least {self.seconds:g} s long; check the evaluation set."
            )
        return part


def _generated(folder: Path, item: EvaluationItem) -> Path:
    path = folder / "generated" / f"{item.key}.flac"
    if not path.is_file():
        raise InputError(f"{path} is missing; run the same 'test' again to generate it.")
    return path
