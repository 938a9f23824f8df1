"""Pairs out of shards, for the training of the two towers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule
from rich.progress import track
from torch.utils.data import DataLoader

from lightning_n2m import heartbeat
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.data_loader import Loader
from lightning_n2m.data.shard_reader import RawClip, ShardFile, find_shards
from lightning_n2m.data.training_stream import FixedClips, TrainingStream
from lightning_n2m.mulan.feature_cache import CachedFeatures, cached_features, decode_audio
from lightning_n2m.mulan.feature_pairs import FeatureClips, FeatureStream
from lightning_n2m.mulan.joint import WINDOW_SECONDS
from lightning_n2m.mulan.pairs import Pair, PairText, collate, tags_of
from lightning_n2m.seeding import derive_seed


class PairDataModule(LightningDataModule):
    """Windows of ten seconds with a sentence or some tags; whole clips with all their sentences to validate.

    Where the audio tower begins with a frozen network, its features are computed once, before the
    first epoch, and training reads these alone: it then takes minutes instead of hours.

    Args:
        shards: Folder of shards as ``python -m data_pipeline shard`` writes it, or several.
        batch_size: Pairs in a batch of one rank.
        features: Folder that keeps the features of a frozen tower; an interrupted computation resumes.
        num_workers: Loader processes of one rank, where audio has to be decoded.
        streams: Streams for each worker over all ranks; the number of ranks when null.
        shuffle_shards: Shards whose clips are shuffled together.
        validation_clips: Clips that validate, at most.
        text: How the text of a pair is drawn.
        seed: Seed of order, windows and texts.
    """

    def __init__(
        self,
        shards: str | list[str],
        batch_size: int,
        features: str = "features",
        num_workers: int = 2,
        streams: int | None = None,
        shuffle_shards: int = 4,
        validation_clips: int = 1000,
        text: PairText = PairText(),
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.folders = [shards] if isinstance(shards, str) else list(shards)
        self.batch_size, self.features, self.num_workers = batch_size, Path(features), num_workers
        self.streams, self.shuffle_shards = streams, shuffle_shards
        self.validation_clips, self.text, self.seed = validation_clips, text, seed
        self.start = 0

    @property
    def _tower(self) -> Any:
        return self.trainer.lightning_module.audio  # type: ignore[union-attr]

    def prepare_data(self) -> None:
        """Compute the features of all clips once, on one process of each machine."""
        if self._tower.feature_size is None:
            return
        training = self.trainer.state.fn == "fit"  # type: ignore[union-attr]
        files = [
            file
            for split in (("train", "validation") if training else ("validation", "test"))
            for file in find_shards(self.folders, split)
        ]
        done = 0
        heartbeat.set_line(lambda: f"computing features: {done}/{len(files)} shards")
        for file in track(files, "computing features", transient=True):
            cached_features(self._tower, file, self.features)
            done += 1
        heartbeat.set_line(None)

    def _cached(self, split: str) -> list[CachedFeatures]:
        return [
            cached_features(self._tower, file, self.features) for file in find_shards(self.folders, split)
        ]

    def train_dataloader(self) -> DataLoader:
        """Endless batches, from where a resumed run left off."""
        rank, ranks = self.trainer.global_rank, self.trainer.world_size  # type: ignore[union-attr]
        if self._tower.feature_size is not None:
            pairs = FeatureStream(
                self._cached("train"), self.text, self.batch_size, rank, ranks, self.seed, self.start
            )
            return DataLoader(pairs, self.batch_size, collate_fn=collate)
        stream = TrainingStream(
            find_shards(self.folders, "train"),
            PairDecoder(self._tower.sample_rate, self.text, self.seed),  # type: ignore[arg-type]
            self.batch_size,
            rank,
            ranks,
            self.num_workers,
            self.streams,
            self.seed,
            self.shuffle_shards,
            self.start,
        )
        return Loader(
            stream,
            self.batch_size,
            num_workers=self.num_workers,
            collate_fn=collate,
        )

    def _whole(self, split: str) -> DataLoader:
        """The clips of a split, all of them on every rank."""
        if self._tower.feature_size is not None:
            return DataLoader(
                FeatureClips(self._cached(split), self.text, self.validation_clips),
                self.batch_size,
                collate_fn=collate,
            )
        decoder = PairDecoder(self._tower.sample_rate, self.text, self.seed, whole=True)
        files: Sequence[ShardFile] = find_shards(self.folders, split)
        clips = FixedClips(files, decoder, self.validation_clips)  # type: ignore[arg-type]
        return DataLoader(clips, self.batch_size, collate_fn=collate)

    def val_dataloader(self) -> DataLoader:
        """The validation split."""
        return self._whole("validation")

    def test_dataloader(self) -> DataLoader:
        """The test split."""
        return self._whole("test")

    def state_dict(self) -> dict[str, Any]:
        """Batches that each rank has had, for an exact continuation."""
        progress: Any = self.trainer.fit_loop.epoch_loop.batch_progress  # type: ignore[union-attr]
        return {"batches": progress.total.processed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume after the batches that a checkpoint has seen."""
        self.start = state_dict["batches"]


@dataclass(frozen=True)
class PairDecoder:
    """Decodes a window and draws a text, or decodes a whole clip with all its text.

    Args:
        sample_rate: Rate to deliver, in Hz.
        text: How the text is drawn.
        seed: Seed of window and text, together with the sample's number.
        whole: Deliver the whole clip.
    """

    sample_rate: int
    text: PairText
    seed: int = 0
    whole: bool = False

    def __call__(self, raw: RawClip, number: int) -> Pair:
        """One pair."""
        known = {"track": raw.clip.track_id, "tags": tags_of(raw.clip), "number": number}
        if self.whole:
            return {
                "audio": decode_audio(raw, self.sample_rate),
                "caption": self.text.query(raw.clip),
                **known,
            }
        decoder = ClipDecoder(self.sample_rate, WINDOW_SECONDS, None, self.seed)
        draw = random.Random(derive_seed(self.seed, "pair", number))
        return {
            "audio": decoder(raw, number)["audio"],
            "caption": self.text.draw(raw.clip, None, draw),
            **known,
        }
