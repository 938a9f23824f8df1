"""The memorisation check of an evaluation: calibrated on real duplicates, then put to the generated clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.audio.degradations import add_noise
from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones import musicnn
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import ShardFile
from lightning_n2m.evaluation.nearest_training_clip import Archive, Match, Threshold, find_matches, threshold
from lightning_n2m.evaluation.reference_embeddings import RATE, Reference, decoded, middle
from lightning_n2m.evaluation.tags import hear

LOW_RATE = 3200
DUPLICATES = 24
CANDIDATES = 10


@dataclass(frozen=True)
class Repetition:
    """What the memorisation check found.

    Args:
        matches: The nearest training clip of each generated clip.
        embedding: Threshold of the likeness by ear.
        waveform: Threshold of the likeness by waveform.
        flagged: Places of the clips above either threshold.
        nearest: The training clip that each is nearest to.
    """

    matches: list[Match]
    embedding: Threshold
    waveform: Threshold
    flagged: list[int]
    nearest: list[Clip]


class RepetitionCheck:
    """Compares clips with all training clips.

    Args:
        training: What was heard in the training clips.
        files: Their shards.
    """

    def __init__(self, training: Reference, files: Sequence[ShardFile]) -> None:
        self.training = training
        self.files = {str(file.path): file for file in files}
        self.archive = Archive(training.patches)

    def __call__(self, made: Tensor, strangers: Tensor) -> Repetition:
        """Check generated clips.

        Thresholds come from real music: known duplicates are training clips, cut elsewhere and with noise
        at 40 dB; strangers are clips of held-out tracks. Poorer copies escape: noise at 20 dB is another
        sound to the judge, so that it no longer finds the original.

        Args:
            made: GeneratedClip clips at 16 kHz, ``(n, 1, t)``.
            strangers: Real held-out clips at 16 kHz, ``(m, 1, t)``.
        """
        places = torch.linspace(0, len(self.training.clips) - 1, DUPLICATES).long().unique().tolist()
        audio = self.fetch(places, RATE)
        # An odd second in from where the middle begins: neither the patches nor the samples fall together.
        length = made.shape[-1]
        cut = [middle(audio[p], RATE)[:, 7321 : 7321 + length] for p in places]
        copies = torch.stack([torch.nn.functional.pad(c, (0, length - c.shape[-1])) for c in cut])
        copies = add_noise(copies, 40.0)
        same, other, ours = (self._match(x) for x in (copies, strangers, made))
        by_ear = threshold(*(torch.tensor([m.embedding for m in found]) for found in (other, same)))
        by_wave = threshold(*(torch.tensor([m.waveform for m in found]) for found in (other, same)))
        flagged = [i for i, m in enumerate(ours) if m.embedding > by_ear.value or m.waveform > by_wave.value]
        return Repetition(ours, by_ear, by_wave, flagged, [self.training.clips[m.nearest] for m in ours])

    def fetch(self, places: Sequence[int], rate: int = LOW_RATE) -> dict[int, Tensor]:
        """Training audio ``(1, t)`` by place, or ``(t,)`` at the low rate."""
        wanted = {self.training.clips[p].key: p for p in places}
        found = {}
        for shard in sorted({self.training.shards[p] for p in places}):
            for clip, audio in decoded(self.files[shard], wanted):
                found[wanted[clip.key]] = audio if rate == RATE else resample(audio, RATE, rate)[0]
        return found

    def _match(self, audio: Tensor) -> list[Match]:
        low = resample(audio, RATE, LOW_RATE)[:, 0]
        return find_matches(
            [_offsets(clip) for clip in audio], list(low), self.archive, self.fetch, CANDIDATES
        )


def _offsets(audio: Tensor) -> Tensor:
    """The judge's embeddings of a clip ``(1, t)`` begun at up to six places, ``(places, p, 200)``."""
    patch = musicnn.PATCH * musicnn.HOP
    length = max(1, audio.shape[-1] * 3 // (4 * patch)) * patch
    starts = [s for s in (patch * i // 6 for i in range(6)) if s + length <= audio.shape[-1]]
    return hear(torch.stack([audio[:, start : start + length] for start in starts]), RATE).embedding
