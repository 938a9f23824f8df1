"""Loaders for training, validation and prediction."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_vectors import open_text_vectors
from lightning_n2m.data.cache import Cache
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.data_loader import Loader
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.derived_features import FeatureReader, open_features
from lightning_n2m.data.schema import TEXT_FOLDER
from lightning_n2m.data.shard_sources import find_sources
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.data.training_stream import FixedClips, TrainingStream
from lightning_n2m.errors import InputError
from lightning_n2m.storage import join, locate


class AudioDataModule(LightningDataModule):
    """Crops and captions from webdataset shards.

    Rate, length and token budget come from the stage that is trained, so that the two always match.

    Args:
        shards: Folder of shards as ``python -m data_pipeline shard`` writes it, or its URL (s3://, gs://);
            several are one collection, unless they have weights (``{FOLDER: 3, OTHER: 1}``): of four
            clips, three then come from the first. Forms that ``shard --derive`` wrote are used.
        batch_size: Clips in a batch of one rank: as many as its memory holds.
        effective_batch: Clips of one optimiser step over all ranks: 2048 in the paper. The number of
            batches that each rank accumulates follows from it, and ``trainer.val_check_interval`` then counts
            optimiser steps. Where one batch of each rank is already more, each rank takes its share. One
            batch of each rank when null.
        num_workers: Loader processes of one rank; each reads its own shards.
        streams: Streams for each worker over all ranks; fix it to make the order of the data
            independent of the number of ranks. The number of ranks when null.
        shuffle_shards: Shards whose clips are shuffled together and held in a worker's memory.
        validation_clips: Clips on which validation and prediction run, always the same; at least one for
            each rank.
        seed: Seed of order, crops and captions.
        pseudo_labels: Share of captions that are pseudo-labels, where a clip has both pseudo-labels and texts
            of its own; all texts are drawn equally often, as in the paper, when null.
        tag_orders: Fixed orders in which the tags of a clip are joined, so that ``python -m data_pipeline
            derive-text`` can encode every caption before training; a new order each time, as in the paper,
            when null.
        text_vectors: Sub-folder of the shards with what ``derive-text`` computed. It is used where it exists,
            and must be of the stage's text encoder; null to encode every caption during training.
        cache: Folder for local copies of shards from URLs; null to download them again in each epoch.
        cache_gigabytes: Upper limit of the cache; unlimited when null.
    """

    def __init__(
        self,
        shards: str | list[str] | dict[str, float],
        batch_size: int,
        effective_batch: int | None = None,
        num_workers: int = 2,
        streams: int | None = None,
        shuffle_shards: int = 4,
        validation_clips: int = 16,
        seed: int = 0,
        pseudo_labels: float | None = None,
        tag_orders: int | None = None,
        text_vectors: str | None = TEXT_FOLDER,
        cache: str | None = None,
        cache_gigabytes: float | None = None,
    ) -> None:
        super().__init__()
        self.shards, self.cache = shards, Cache(cache, cache_gigabytes) if cache else None
        self.batch_size, self.effective_batch = batch_size, effective_batch
        self.num_workers, self.streams = num_workers, streams
        self.shuffle_shards, self.validation_clips, self.seed = shuffle_shards, validation_clips, seed
        self.pseudo_labels, self.tag_orders, self.text_vectors = pseudo_labels, tag_orders, text_vectors
        self.samples = 0  # Samples of all ranks before this process began.
        self._first = 0  # Batches of each rank before this process began.

    def setup(self, stage: str) -> None:
        """Compute how many batches are accumulated for one optimiser step.

        Raises:
            InputError: if the effective batch is not a multiple of one batch of all ranks.
        """
        trainer: Any = self.trainer
        self._use_text_vectors()
        if stage != "fit" or self.effective_batch is None:
            return
        if trainer.accumulate_grad_batches != 1:
            raise InputError(
                "data.effective_batch and trainer.accumulate_grad_batches are both set; leave the second at "
                "1: it follows from the first."
            )
        # On many ranks, one batch of each can exceed the effective batch: each then takes its share.
        if self.effective_batch < self._at_once and self.effective_batch % trainer.world_size == 0:
            self.batch_size = self.effective_batch // trainer.world_size
        if self.effective_batch % self._at_once:
            raise InputError(
                f"data.effective_batch is {self.effective_batch}, not a multiple of the {self._at_once} "
                f"clips of data.batch_size {self.batch_size} on {trainer.world_size} rank(s); choose a "
                "multiple."
            )
        trainer.accumulate_grad_batches = self.effective_batch // self._at_once
        if isinstance(trainer.val_check_interval, int):
            trainer.val_check_interval *= trainer.accumulate_grad_batches

    def _use_text_vectors(self) -> None:
        """Let the stage's text encoder read the vectors beside the shards, where there are any."""
        text: TextEncoder | None = getattr(self.trainer.lightning_module, "text", None)  # type: ignore[union-attr]
        if text is None:
            return
        name = self.text_vectors
        folders = [self.shards] if isinstance(self.shards, str) else list(self.shards)
        places = [join(locate(folder), name) for folder in folders] if name else []
        text.use_vectors(open_text_vectors(places, text))

    @property
    def _at_once(self) -> int:
        """Clips in one batch of all ranks."""
        return self.batch_size * self.trainer.world_size  # type: ignore[union-attr]

    def _decoder(self, centred: bool) -> ClipDecoder:
        stage: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        text = None
        if stage.text is not None:
            budget = stage.text.max_tokens - stage.text.special_tokens
            text = TextBatch(budget, stage.text.count_tokens, self.pseudo_labels, self.tag_orders)
        # Validation logs samples, for which it needs audio even where training takes log-mels.
        mel = None if centred else stage.trains_on_mel
        numbers = bool(stage.network.number_names)
        features = () if centred else self._features(stage)
        rate, seconds = stage.sample_rate, stage.seconds
        return ClipDecoder(rate, seconds, text, self.seed, centred, mel, numbers, features)

    def _features(self, stage: Any) -> tuple[FeatureReader, ...]:
        """Readers of the features that the stage's auxiliary losses predict."""
        names = getattr(stage, "training_features", ())
        folders = [self.shards] if isinstance(self.shards, str) else list(self.shards)
        return open_features(names, folders, self.cache) if names else ()

    def _loader(self, dataset: IterableDataset, workers: int) -> Loader:
        return Loader(
            dataset,
            batch_size=self.batch_size,
            num_workers=workers,
            pin_memory=self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",  # type: ignore[union-attr]
        )

    def train_dataloader(self) -> DataLoader:
        """Batches without end, from where a resumed run stopped."""
        self._first = self._batches
        decoder = self._decoder(centred=False)
        stream = TrainingStream(
            find_sources(self.shards, "train", TrainingFormat(decoder.sample_rate, decoder.mel), self.cache),
            decoder,
            self.batch_size,
            rank=self.trainer.global_rank,  # type: ignore[union-attr]
            world_size=self.trainer.world_size,  # type: ignore[union-attr]
            workers=self.num_workers,
            streams=self.streams,
            seed=self.seed,
            group=self.shuffle_shards,
            start=self.samples // self._at_once,
        )
        return self._loader(stream, self.num_workers)

    def _fixed(self, split: str) -> DataLoader:
        clips = FixedClips(
            [file for source in find_sources(self.shards, split, cache=self.cache) for file in source.files],
            self._decoder(centred=True),
            self.validation_clips,
            rank=self.trainer.global_rank,  # type: ignore[union-attr]
            world_size=self.trainer.world_size,  # type: ignore[union-attr]
        )
        return self._loader(clips, 0)

    def val_dataloader(self) -> DataLoader:
        """A fixed set of clips of the validation split."""
        return self._fixed("validation")

    def test_dataloader(self) -> DataLoader:
        """A fixed set of clips of the test split."""
        return self._fixed("test")

    def predict_dataloader(self) -> DataLoader:
        """A fixed set of clips of the test split."""
        return self._fixed("test")

    @property
    def _batches(self) -> int:
        """Batches that each rank has trained on."""
        return self.trainer.fit_loop.epoch_loop.batch_progress.total.processed  # type: ignore[union-attr]

    @property
    def _reading(self) -> dict[str, int]:
        """The settings that the order of the data depends on."""
        streams = self.streams or self.trainer.world_size  # type: ignore[union-attr]
        order = {"streams": streams, "num_workers": max(1, self.num_workers)}
        # One worker fills any batch from its streams in turn; several workers take whole batches in turn.
        return order | ({"batch_size x ranks": self._at_once} if self.num_workers > 1 else {})

    def state_dict(self) -> dict[str, Any]:
        """Samples that all ranks have read, for an exact resume, also on another number of ranks."""
        seen = self.samples + (self._batches - self._first) * self._at_once
        return {"samples": seen, "reading": self._reading}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume after the samples that a checkpoint has read.

        Raises:
            InputError: if the settings would give the samples in another order.
        """
        before = state_dict["reading"]
        if before != self._reading:
            wanted = ", ".join(f"data.{name} {value}" for name, value in before.items())
            raise InputError(
                f"The run to resume has read its clips with {wanted}; set the same, or clips would be "
                "repeated or skipped."
            )
        if state_dict["samples"] % self._at_once:
            raise InputError(
                f"The run to resume has read {state_dict['samples']} clips, which batches of "
                f"{self._at_once} do not divide; choose data.batch_size so that, times the ranks, it does."
            )
        self.samples = state_dict["samples"]
