"""The memorisation check: calibrated on known duplicates, then applied to the generated clips."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from lightning_n2m.audio.degradations import add_noise
from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import musicnn
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import ShardFile
from lightning_n2m.evaluation.nearest_training_clip import (
    Match,
    Threshold,
    TrainingIndex,
    calibrate_threshold,
    find_matches,
)
from lightning_n2m.evaluation.reference_embeddings import RATE, Reference, decoded
from lightning_n2m.evaluation.tagger import predict_tags

LOW_RATE = 3200
DUPLICATES = 24
CANDIDATES = 10
_AT_ONCE = 64  # clips whose candidates are in memory at once: 640 of 400 kB
_DUPLICATE_START = 7321  # samples after the start of the middle: aligned with neither patches nor hops
_DUPLICATE_SNR = 40.0  # dB


@dataclass(frozen=True)
class MemorisationResult:
    """Result of the memorisation check.

    Args:
        matches: The nearest training clip of each generated clip.
        embedding: Threshold of the embedding similarity.
        waveform: Threshold of the waveform correlation.
        flagged: Numbers of the clips above either threshold.
        nearest: Metadata of the nearest training clip of each.
    """

    matches: list[Match]
    embedding: Threshold
    waveform: Threshold
    flagged: list[int]
    nearest: list[Clip]


class MemorisationCheck:
    """Compares clips with all training clips.

    Args:
        training: Embeddings of the training clips.
        files: Their shards.
        device: Where the tagger computes.
    """

    def __init__(
        self, training: Reference, files: Sequence[ShardFile], device: torch.device | str = "cpu"
    ) -> None:
        self.training, self.device = training, device
        self.files = {str(file.path): file for file in files}
        self.index = TrainingIndex(training.patches)

    def __call__(
        self, generated: Iterable[Tensor], held_out: Iterable[Tensor], length: int
    ) -> MemorisationResult:
        """Check generated clips.

        Thresholds come from recordings. Known duplicates are training clips, cut at another place and with
        noise at 40 dB; the other side are clips of held-out tracks. Poorer copies are not detected: with
        noise at 20 dB the tagger's embedding no longer finds the original.

        Args:
            generated: Generated clips at 16 kHz, ``(1, t)``.
            held_out: Held-out recordings at 16 kHz, ``(1, t)``.
            length: Samples of each of these clips.
        """
        duplicate_matches = self._match(self._duplicates(length))
        held_out_matches, matches = self._match(held_out), self._match(generated)
        by_embedding, by_waveform = (
            calibrate_threshold(
                torch.tensor([getattr(match, measure) for match in held_out_matches]),
                torch.tensor([getattr(match, measure) for match in duplicate_matches]),
            )
            for measure in ("embedding", "waveform")
        )
        flagged = [
            number
            for number, match in enumerate(matches)
            if match.embedding > by_embedding.value or match.waveform > by_waveform.value
        ]
        nearest = [self.training.clips[match.nearest] for match in matches]
        return MemorisationResult(matches, by_embedding, by_waveform, flagged, nearest)

    def fetch(self, numbers: Sequence[int], rate: int = LOW_RATE) -> dict[int, Tensor]:
        """Training audio by number: ``(1, t)`` at 16 kHz, or ``(t,)`` at the low rate."""
        by_shard: dict[str, dict[str, int]] = {}
        for number in numbers:
            keys = by_shard.setdefault(self.training.shards[number], {})
            keys[self.training.clips[number].key] = number
        audio_by_number = {}
        for shard, keys in sorted(by_shard.items()):
            for clip, audio in decoded(self.files[shard], keys):
                audio_by_number[keys[clip.key]] = audio if rate == RATE else resample(audio, RATE, rate)[0]
        return audio_by_number

    def _duplicates(self, length: int) -> list[Tensor]:
        """Excerpts of evenly spaced training clips, with a little noise."""
        numbers = torch.linspace(0, len(self.training.clips) - 1, DUPLICATES).long().unique().tolist()
        duplicates = []
        for audio in self.fetch(numbers, RATE).values():
            start = (audio.shape[-1] - min(audio.shape[-1], 10 * RATE)) // 2 + _DUPLICATE_START
            part = audio[:, start : start + length]
            duplicates.append(add_noise(pad(part, (0, length - part.shape[-1]))[None], _DUPLICATE_SNR)[0])
        return duplicates

    def _match(self, clips: Iterable[Tensor]) -> list[Match]:
        matches: list[Match] = []
        remaining = iter(clips)
        while part := list(itertools.islice(remaining, _AT_ONCE)):
            low_rate = [resample(clip, RATE, LOW_RATE)[0] for clip in part]
            offsets = [self._embed_offsets(clip) for clip in part]
            matches += find_matches(offsets, low_rate, self.index, self.fetch, CANDIDATES)
        return matches

    def _embed_offsets(self, audio: Tensor) -> Tensor:
        """Tagger embeddings of a clip ``(1, t)`` from up to six starts: ``(starts, p, 200)``."""
        patch = musicnn.PATCH * musicnn.HOP
        length = max(1, audio.shape[-1] * 3 // (4 * patch)) * patch
        starts = [s for s in (patch * i // 6 for i in range(6)) if s + length <= audio.shape[-1]]
        parts = torch.stack([audio[:, start : start + length] for start in starts])
        return predict_tags(parts.to(self.device), RATE).embedding.cpu()
