"""Features of clips that the auxiliary losses of a training predict, stored beside the shards.

``shard --derive musicnn`` and ``shard --derive chroma`` write them as derived forms: a sub-folder with an
index and one tar file for each shard. The loader cuts the frames of a crop out of them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.audio.resample import resample
from lightning_n2m.data.cache import Cache
from lightning_n2m.data.derived_audio import derived_shape, from_bytes
from lightning_n2m.data.schema import INDEX, Shard, read_index
from lightning_n2m.data.shard_reader import RawClip, ShardFile, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, join, locate, size

FeatureName = Literal["musicnn", "chroma"]

CHANNELS: dict[FeatureName, int] = {"musicnn": 64, "chroma": 13}
FRAME_RATE = 12.5  # Frames per second of all features.
SAMPLE_RATE = 16_000
_HOP = 256  # Samples of a frame of both analyses, of which five are averaged.
_POOL = 5
_MUSICNN_SCALE = 1 / 8  # Brings the activations into the range of 16-bit storage, (-2, 2).
_OPEN_SHARDS = 8  # Shards of which a worker keeps the features.


@dataclass(frozen=True)
class FeatureForm:
    """Features of one kind, at 12.5 frames a second.

    Args:
        name: ``musicnn``: the last convolutional layer of the tagger that was trained on the Million Song
            Dataset (never the one that evaluates); ``chroma``: energy of the twelve pitch classes from C, and
            the strength of onsets, both from 0 to 1.
    """

    name: FeatureName

    @property
    def channels(self) -> int:
        """Numbers of a frame."""
        return CHANNELS[self.name]

    @property
    def sample_rate(self) -> int:
        """Rate of the audio that is analysed, in Hz."""
        return SAMPLE_RATE

    def of(self, audio: Tensor, sample_rate: int) -> Tensor:
        """Features of audio ``(1, time)``: ``(channels, frames)``."""
        samples = resample(audio, sample_rate, SAMPLE_RATE)
        return musicnn_features(samples) if self.name == "musicnn" else chroma_and_onsets(samples)

    def settings(self, parents: Sequence[Shard]) -> dict[str, object]:
        """The settings of a derived index: which features were derived from which shards."""
        digest = hashlib.sha256("".join(shard.sha256 for shard in parents).encode()).hexdigest()
        return {"features": self.name, "version": 1, "parents": digest}


@torch.no_grad()
def musicnn_features(audio: Tensor) -> Tensor:
    """Activations of musicnn-MSD's last convolution, scaled, for ``(1, time)``: ``(64, frames)``."""
    # Imported late: the loader needs features that were stored, not the tagger.
    from lightning_n2m.backbones.musicnn import load_musicnn

    tagger = load_musicnn("MSD")
    frames = tagger.levels(tagger.log_mel(audio[None]))[-1][0] * _MUSICNN_SCALE
    return _pooled(frames, audio.shape[-1])


def chroma_and_onsets(audio: Tensor) -> Tensor:
    """Pitch classes and onsets of 16 kHz audio ``(1, time)``: ``(13, frames)``.

    The twelve pitch classes share the energy between 55 Hz and 2 kHz, each spectral line in proportion to its
    distance from the two nearest semitones; the strongest class of a frame is 1. Onsets are the rise of
    the logarithmic spectrum from frame to frame, averaged over frequency.
    """
    size = 4096
    window = torch.hann_window(size)
    spectrum = torch.stft(audio, size, _HOP, window=window, pad_mode="constant", return_complex=True)[0].abs()
    frequencies = torch.arange(1, size // 2 + 1) * SAMPLE_RATE / size
    semitones = 12 * torch.log2(frequencies / 440) + 69  # MIDI note numbers
    in_range = (frequencies >= 55) & (frequencies <= 2000)
    distance = (semitones[None] - torch.arange(12)[:, None] + 6) % 12 - 6
    weights = (1 - distance.abs()).clamp(min=0) * in_range
    energy = weights @ spectrum[1:].square()
    # Averaged before the maximum is taken, so that short noises count little.
    energy = _pooled(energy, audio.shape[-1])
    chroma = energy / energy.amax(dim=0, keepdim=True).clamp(min=1e-3)
    short = torch.stft(audio, 1024, _HOP, window=torch.hann_window(1024), return_complex=True)[0].abs()
    rise = F.pad(torch.log1p(100 * short).diff(dim=1).clamp(min=0).mean(0), (1, 0))
    onsets = F.max_pool1d(rise[None, None, : rise.shape[0] // _POOL * _POOL], _POOL)[0]
    return torch.cat([chroma, (onsets[:, : chroma.shape[1]]).clamp(max=1)])


def _pooled(frames: Tensor, samples: int) -> Tensor:
    """Average five frames; only whole ones within the audio."""
    count = samples // (_HOP * _POOL)
    return F.avg_pool1d(frames[None, :, : count * _POOL], _POOL)[0]


class FeatureReader:
    """Reads the frames of crops from derived features; one for each loader worker.

    Args:
        name: Which features.
        folders: Shards of the features, by folder of the master shards and name of the shard.
        cache: Keeps local copies of downloaded shards.
    """

    def __init__(
        self, name: FeatureName, folders: Mapping[str, Mapping[str, Shard]], cache: Cache | None = None
    ) -> None:
        self.name, self.folders, self.cache = name, folders, cache
        self._open: OrderedDict[str, dict[str, bytes]] = OrderedDict()

    def crop(self, raw: RawClip, start: float, seconds: float) -> Tensor:
        """Features of a part of a clip, ``(channels, frames)``.

        Args:
            raw: The clip, of the master shards or of a derived form.
            start: First second.
            seconds: Length in seconds.

        Raises:
            InputError: if the shard has no features of this clip.
        """
        stored = self._shard(raw.shard).get(raw.clip.key)
        if stored is None:
            raise InputError(
                f"its features '{self.name}' are missing; run 'shard --derive {self.name}' again"
            )
        length = max(1, int(seconds * FRAME_RATE))
        # The last frame of a clip may be cut off: then the frames before it are taken.
        first = max(0, min(int(start * FRAME_RATE), derived_shape(stored)[0] - length))
        return from_bytes(stored, first, length, CHANNELS[self.name])

    def _shard(self, path: str) -> dict[str, bytes]:
        if path not in self._open:
            folder, _, name = path.rpartition("/")
            if folder not in self.folders:  # A derived form lies in a sub-folder.
                folder = folder.rpartition("/")[0]
            shard = self.folders[folder][name]
            clips = read_shard(ShardFile(locate(folder), shard, self.name, self.cache))
            self._open[path] = {clip.clip.key: clip.audio for clip in clips}
            if len(self._open) > _OPEN_SHARDS:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]


def open_features(
    names: Sequence[str], folders: Sequence[Location], cache: Cache | None = None
) -> tuple[FeatureReader, ...]:
    """Readers of the features that a training needs.

    Args:
        names: Which features.
        folders: Folders of the master shards.
        cache: Keeps local copies of downloaded shards.

    Raises:
        InputError: if there are no such features, or a folder lacks them.
    """
    readers = []
    for name in names:
        if name not in get_args(FeatureName):
            raise InputError(
                f"There are no features '{name}'; choose one of {', '.join(get_args(FeatureName))}."
            )
        form = FeatureForm(name)  # type: ignore[arg-type]
        shards: dict[str, dict[str, Shard]] = {}
        for folder in map(locate, folders):
            command = f"'python -m data_pipeline shard --output {folder} --derive {name}'"
            if size(join(folder, f"{name}/{INDEX}")) is None:
                raise InputError(f"{folder} has no features '{name}'; compute them with {command}.")
            derived = read_index(join(folder, name))
            if derived.settings != form.settings(read_index(folder).shards):
                raise InputError(f"{folder}/{name} was derived from other shards; run {command} again.")
            shards[str(folder)] = {shard.name: shard for shard in derived.shards}
        readers.append(FeatureReader(form.name, shards, cache))
    return tuple(readers)
