"""Figures of shards, which add up."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_n2m.data.schema import Shard
from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.storage import Location

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLES = 6
_EDGE_DB = 60  # A band this far below the loudest one, over the whole clip, is taken for empty.
_KINDS = ("genres", "tags", "years", "licences", "captions", "descriptions", "levels", "peaks", "bandwidths")


@dataclass(frozen=True)
class Example:
    """A clip to look at and listen to."""

    key: str
    title: str
    text: str
    audio: bytes
    ending: str
    mel: Any


@dataclass
class Part:
    """Figures of some shards; those of two parts add up.

    Args:
        clips: Clips by split.
        seconds: Seconds by split.
        tracks: Tracks by split.
        counts: Clips by value, for each kind of value: genres, levels in whole dB, and so on.
        examples: Clips drawn at random, by a number that decides which are kept.
    """

    clips: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    tracks: Counter[str] = field(default_factory=Counter)
    counts: dict[str, Counter[Any]] = field(default_factory=lambda: {kind: Counter() for kind in _KINDS})
    examples: list[tuple[int, Example]] = field(default_factory=list)

    def add(self, other: Part) -> None:
        """Add another part's figures; examples beyond the first six draws are dropped."""
        for mine, theirs in (
            (self.clips, other.clips),
            (self.seconds, other.seconds),
            (self.tracks, other.tracks),
        ):
            mine.update(theirs)
        for kind, counter in other.counts.items():
            self.counts[kind].update(counter)
        self.examples = sorted(self.examples + other.examples, key=lambda item: item[0])[:EXAMPLES]


def describe(shard: Shard, folder: Location) -> tuple[int, Part]:
    """Figures of one shard, and the number of its clips."""
    part = Part()
    tracks = set()
    chosen: tuple[int, RawClip] | None = None
    for raw in read_shard(ShardFile(folder, shard)):
        tracks.add(raw.clip.track_id)
        part.clips[shard.split] += 1
        part.seconds[shard.split] += raw.clip.duration_s  # type: ignore[assignment]
        _count(raw, part.counts)
        draw = int.from_bytes(hashlib.sha256(raw.clip.key.encode()).digest()[:8], "big")
        if chosen is None or draw < chosen[0]:
            chosen = draw, raw
    part.tracks[shard.split] = len(tracks)
    if chosen:
        part.examples.append((chosen[0], _example(chosen[1])))
    return shard.clips, part


def _count(raw: RawClip, counts: dict[str, Counter[Any]]) -> None:
    from lightning_n2m.audio import io

    clip = raw.clip
    counts["genres"].update(clip.genres or ("(none)",))
    counts["tags"].update(clip.tags)
    counts["years"][clip.year or "(none)"] += 1
    counts["licences"][clip.licence or "(none)"] += 1
    counts["descriptions"][len(clip.descriptions)] += 1
    counts["captions"][len(raw.captions.long) + len(raw.captions.short) if raw.captions else 0] += 1
    audio = io.read(raw.audio)
    samples = audio.samples[0]
    counts["levels"][_decibels(samples.double().square().mean().sqrt())] += 1
    counts["peaks"][_decibels(samples.abs().max())] += 1
    counts["bandwidths"][bandwidth(samples, audio.sample_rate)] += 1


def _decibels(value: Tensor) -> int:
    return max(-100, round(20 * math.log10(float(value) + 1e-10)))


def bandwidth(samples: Tensor, sample_rate: int) -> float:
    """Where the spectrum of ``(time,)`` ends, in kHz, in halves: early in what had a low rate once."""
    import torch

    frames = samples[: len(samples) // 1024 * 1024].view(-1, 1024)
    if not len(frames):
        return 0.0
    power = torch.fft.rfft(frames * torch.hann_window(1024)).abs().square().mean(dim=0)
    heard = torch.nonzero(power > power.max() * 10 ** (-_EDGE_DB / 10))
    highest = int(heard[-1]) if len(heard) else 0
    return math.ceil(highest * sample_rate / 1024 / 500) / 2


def _example(raw: RawClip) -> Example:
    from lightning_n2m.audio import io
    from lightning_n2m.audio.mel import MelSettings, log_mel
    from lightning_n2m.audio.resample import resample

    audio = io.read(raw.audio)
    settings = MelSettings()
    mel = log_mel(resample(audio.samples, audio.sample_rate, settings.sample_rate)[None], settings)[0]
    clip, captions = raw.clip, raw.captions
    words = [
        *clip.descriptions[:1],
        *(captions.long[:1] if captions else ()),
        ", ".join([*clip.genres, *clip.tags]),
    ]
    ending = "flac" if raw.audio[:4] == b"fLaC" else "ogg"
    picture = ((mel[:, ::4].clamp(-1, 1) + 1) * 127.5).byte().numpy()
    return Example(
        clip.key, clip.title or clip.source, " · ".join(filter(None, words)), raw.audio, ending, picture
    )


def summary(total: Part) -> dict[str, Any]:
    """The figures as they go to ``stats.json``."""
    counts = total.counts
    labelled = sum(number for amount, number in counts["captions"].items() if amount)
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
