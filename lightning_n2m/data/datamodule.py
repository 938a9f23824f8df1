"""Loaders for training, validation and prediction."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from lightning_n2m.data.clips import ClipDecoder
from lightning_n2m.data.shard_file import find_shards
from lightning_n2m.data.shards import FixedClips, TrainingStream
from lightning_n2m.data.text_batch import TextBatch


class AudioDataModule(LightningDataModule):
    """Crops and captions out of webdataset shards.

    Rate, length and token budget are asked of the stage that is trained, so that the two cannot
    disagree.

    Args:
        shards: Folder of shards as ``python -m data_pipeline shard`` writes it, or several.
        batch_size: Clips in a batch of one rank.
        num_workers: Loader processes of one rank; each reads its own shards.
        streams: Streams for each worker over all ranks; fix it to make the order of the data
            independent of the number of ranks. The number of ranks when null.
        shuffle_shards: Shards whose clips are shuffled together; so many lie in a worker's memory.
        validation_clips: Clips on which validation and prediction run, always the same.
        seed: Seed of order, crops and captions.
    """

    def __init__(
        self,
        shards: str | list[str],
        batch_size: int,
        num_workers: int = 2,
        streams: int | None = None,
        shuffle_shards: int = 4,
        validation_clips: int = 16,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folders = [shards] if isinstance(shards, str) else list(shards)
        self.batch_size, self.num_workers, self.streams = batch_size, num_workers, streams
        self.shuffle_shards, self.validation_clips, self.seed = shuffle_shards, validation_clips, seed
        self.start = 0

    def _decoder(self, centred: bool) -> ClipDecoder:
        stage: Any = self.trainer.lightning_module  # type: ignore[union-attr]
        text = None
        if stage.text is not None:
            budget = stage.text.max_tokens - stage.text.special_tokens
            text = TextBatch(budget, stage.text.count_tokens)
        return ClipDecoder(stage.sample_rate, stage.seconds, text, self.seed, centred)

    def _loader(self, dataset: IterableDataset, workers: int) -> DataLoader:
        return DataLoader(
            dataset,
            batch_size=self.batch_size,
            num_workers=workers,
            pin_memory=self.trainer.accelerator.__class__.__name__ == "CUDAAccelerator",  # type: ignore[union-attr]
            # Forked workers deadlock on the locks of audio and thread libraries that the parent held.
            multiprocessing_context="forkserver" if workers else None,
        )

    def train_dataloader(self) -> DataLoader:
        """Endless batches, from where a resumed run left off."""
        stream = TrainingStream(
            find_shards(self.folders, "train"),
            self._decoder(centred=False),
            self.batch_size,
            self.trainer.global_rank,  # type: ignore[union-attr]
            self.trainer.world_size,  # type: ignore[union-attr]
            self.num_workers,
            self.streams,
            self.seed,
            self.shuffle_shards,
            self.start,
        )
        return self._loader(stream, self.num_workers)

    def _fixed(self, split: str) -> DataLoader:
        clips = FixedClips(
            find_shards(self.folders, split),
            self._decoder(centred=True),
            self.validation_clips,
            self.trainer.global_rank,  # type: ignore[union-attr]
            self.trainer.world_size,  # type: ignore[union-attr]
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

    def state_dict(self) -> dict[str, Any]:
        """Batches that each rank has had, for an exact continuation."""
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress  # type: ignore[union-attr]
        return {"batches": progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the batches that a checkpoint has seen."""
        self.start = state_dict["batches"]
