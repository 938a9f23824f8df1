"""Statistics of shards, which add up."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_n2m.data.schema import Shard
from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = 6
_EDGE_DB = 60  # A band this far below the loudest one, over the whole clip, counts as empty.
_KINDS = ("genres", "tags", "years", "licences", "captions", "descriptions", "levels", "peaks", "bandwidths")


@dataclass(frozen=True)
class Example:
    """A clip of the page, with its encoded audio, its file ending and its log-mel ``(mel, frames)``."""

    key: str
    title: str
    text: str
    audio: bytes
    ending: str
    mel: Any


@dataclass
class ShardStats:
    """Statistics of some shards; those of two sets of shards add up.

    Args:
        clips: Clips by split.
        seconds: Seconds by split.
        tracks: Tracks by split.
        counts: Clips by value, for each kind of value: genres, levels in whole dB, and so on.
        examples: Clips drawn at random, each with the number that was drawn for it.
    """

    clips: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    tracks: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Counter[Any]] = field(default_factory=lambda: {kind: Counter() for kind in _KINDS})
    examples: list[tuple[int, Example]] = field(default_factory=list)

    def add(self, other: ShardStats) -> None:
        """Add the statistics of other shards; the examples with the smallest numbers stay."""
        self.clips.update(other.clips)
        self.seconds.update(other.seconds)
        self.tracks.update(other.tracks)
        for kind, counter in other.counts.items():
            self.counts[kind].update(counter)
        self.examples = sorted(self.examples + other.examples, key=lambda item: item[0])[:EXAMPLES]


def count_shard(shard: Shard, folder: Location) -> tuple[int, ShardStats]:
    """Number of clips and statistics of one shard.

    Raises:
        InputError: if the shard or a clip is damaged.
    """
    stats = ShardStats()
    tracks = set()
    chosen: tuple[int, RawClip] | None = None
    for raw in read_shard(ShardFile(folder, shard)):
        tracks.add(raw.clip.track_id)
        stats.clips[shard.split] += 1
        stats.seconds[shard.split] += raw.clip.duration_s  # type: ignore[assignment]
        try:
            _count(raw, stats.counts)
        except InputError as error:
            reason = str(error).rstrip(".")
            raise InputError(
                f"Clip {raw.clip.key} of {raw.shard} cannot be used: {reason}; build its shard again."
            ) from error
        draw = int.from_bytes(hashlib.sha256(raw.clip.key.encode()).digest()[:8], "big")
        if chosen is None or draw < chosen[0]:
            chosen = draw, raw
    stats.tracks[shard.split] = len(tracks)
    if chosen:
        stats.examples.append((chosen[0], _example(chosen[1])))
    return shard.clips, stats


def _count(raw: RawClip, counts: dict[str, Counter[Any]]) -> None:
    from lightning_n2m.data.clip_audio import read_clip

    clip = raw.clip
    counts["genres"].update(clip.genres or ("(none)",))
    counts["tags"].update(clip.tags)
    counts["years"][clip.year or "(none)"] += 1
    counts["licences"][clip.licence or "(none)"] += 1
    counts["descriptions"][len(clip.descriptions)] += 1
    counts["captions"][len(raw.captions.long) + len(raw.captions.short) if raw.captions else 0] += 1
    audio = read_clip(raw)
    samples = audio.samples[0]
    counts["levels"][_decibels(samples.double().square().mean().sqrt())] += 1
    counts["peaks"][_decibels(samples.abs().max())] += 1
    counts["bandwidths"][bandwidth(samples, audio.sample_rate)] += 1


def _decibels(value: Tensor) -> int:
    return max(-100, round(20 * math.log10(float(value) + 1e-10)))


def bandwidth(samples: Tensor, sample_rate: int) -> float:
    """Highest frequency of ``(time,)`` in kHz, in steps of 0.5: low for audio that had a low rate once."""
    import torch

    frames = samples[: len(samples) // 1024 * 1024].view(-1, 1024)
    if not len(frames):
        return 0.0
    power = torch.fft.rfft(frames * torch.hann_window(1024)).abs().square().mean(dim=0)
    audible = torch.nonzero(power > power.max() * 10 ** (-_EDGE_DB / 10))
    highest = int(audible[-1]) if len(audible) else 0
    return math.ceil(highest * sample_rate / 1024 / 500) / 2


def _example(raw: RawClip) -> Example:
    from lightning_n2m.audio.mel import MelSettings, log_mel
    from lightning_n2m.audio.resample import resample
    from lightning_n2m.data.clip_audio import read_clip

    audio = read_clip(raw)
    settings = MelSettings()
    mel = log_mel(resample(audio.samples, audio.sample_rate, settings.sample_rate)[None], settings)[0]
    clip, captions = raw.clip, raw.captions
    texts = [
        *clip.descriptions[:1],
        *(captions.long[:1] if captions else ()),
        ", ".join([*clip.genres, *clip.tags]),
    ]
    ending = "flac" if raw.audio[:4] == b"fLaC" else "ogg"
    image = ((mel[:, ::4].clamp(-1, 1) + 1) * 127.5).byte().numpy()
    return Example(
        clip.key, clip.title or clip.source, " · ".join(filter(None, texts)), raw.audio, ending, image
    )


def summary(total: ShardStats) -> dict[str, Any]:
    """The content of ``stats.json``."""
    counts = total.counts
    labelled = sum(clips for captions, clips in counts["captions"].items() if captions)
    return {
        "clips": total.clips.total(),
        "tracks": total.tracks.total(),
        "hours": round(sum(total.seconds.values()) / 3600, 4),
        "splits": {
            split: {
                "clips": total.clips[split],
                "tracks": total.tracks[split],
                "hours": round(total.seconds[split] / 3600, 4),
            }
            for split in ("train", "validation", "test")
        },
        "labelled_clips": labelled,
        "median_level_db": _median(counts["levels"]),
        "clipped_clips": counts["peaks"][0],
        "median_bandwidth_khz": _median(counts["bandwidths"]),
        **{
            kind: dict(sorted(counts[kind].items(), key=lambda item: (-item[1], item[0]))[:100])
            for kind in ("genres", "tags", "licences")
        },
        **{
            kind: {str(value): counts[kind][value] for value in sorted(counts[kind])}
            for kind in ("years", "captions", "descriptions", "levels", "peaks", "bandwidths")
        },
    }


def _median(counts: Counter[Any]) -> float:
    """The value of which at most half of the clips lie below."""
    below = 0
    for value in sorted(counts):
        below += counts[value]
        if 2 * below >= counts.total():
            return float(value)
    return 0.0
