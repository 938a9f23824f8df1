"""The joint model of the starter beside a training-free score, on held-out tracks."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.music import ROOT, corpus
from benchmarks.result import Result
from lightning_n2m.backbones.musicnn import EMBEDDING, load_musicnn
from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.mulan.bundle import load_towers
from lightning_n2m.mulan.feature_cache import CachedFeatures, cached_features
from lightning_n2m.mulan.joint import average
from lightning_n2m.mulan.pairs import PairText, tags_of
from lightning_n2m.mulan.retrieval import Retrieval, measurable_tags  # prose: allow
from lightning_n2m.mulan.retrieval import measure as retrieve
from lightning_n2m.mulan.text_tower import TextTower

WEIGHTS = ROOT / "pretrained/mulan"
PEER = "MiniLM to 'TAG music' times musicnn-MSD"


class TrainingFree:
    """Similarity of a text and a clip's tags, by two frozen networks.

    The vector of a text is its cosine with "TAG music" for each of the 50 tags. The vector of a clip is the
    excess of each tag's log-odds over its mean. Both are centred, and the score is their product.

    Args:
        text: Any text tower, of which only the frozen part is used.
        training: Features of training clips, which give mean and scale of each tag.
    """

    def __init__(self, text: TextTower, training: Sequence[CachedFeatures]) -> None:
        self.text, self.tagger = text, load_musicnn("MSD")
        self.tags = self._read([f"{tag.lower()} music" for tag in self.tagger.tags])
        logits = torch.cat([self._logits(part) for part in training])
        self.mean, self.std = logits.mean(dim=0), logits.std(dim=0)

    def _read(self, texts: Sequence[str]) -> Tensor:
        return normalize(self.text.features(texts), dim=-1)

    def _logits(self, part: CachedFeatures) -> Tensor:
        # Logits are linear in the embedding, so those of the mean embedding are the mean logits.
        embedding = torch.from_numpy(part.features[..., -EMBEDDING:].copy()).mean(dim=1)
        return self.tagger.output(embedding)

    def audio(self, part: CachedFeatures) -> Tensor:
        """Vectors of clips, ``(b, 50)``."""
        return normalize((self._logits(part) - self.mean) / self.std, dim=-1)

    def texts(self, texts: Sequence[str]) -> Tensor:
        """Vectors of texts, ``(n, 50)``."""
        cosines = self._read(texts) @ self.tags.T
        return normalize(cosines - cosines.mean(dim=1, keepdim=True), dim=-1)


@torch.no_grad()
def compare(build: Path, weights: Path = WEIGHTS, split: str = "test") -> tuple[Retrieval, Retrieval]:
    """Retrieval of the trained towers and of the training-free score, on the same clips and texts."""
    towers = load_towers(weights)

    def features_of(split: str) -> list[CachedFeatures]:
        return [
            cached_features(towers.audio, file, build / "features")
            for file in find_shards([build / "shards"], split)
        ]

    held_out = features_of(split)
    free = TrainingFree(towers.text, features_of("train"))
    clips = [clip for part in held_out for clip in part.clips]
    queries = [PairText().query(clip) for clip in clips]
    tracks = [clip.track_id for clip in clips]
    tags = [tags_of(clip) for clip in clips]
    queried_tags = measurable_tags(tags)  # prose: allow
    windows = torch.cat([torch.from_numpy(part.features.copy()) for part in held_out])
    tower_vectors = average(towers.audio_vectors(windows.flatten(0, 1)).unflatten(0, windows.shape[:2]))
    free_vectors = torch.cat([free.audio(part) for part in held_out])
    return (
        retrieve(
            tower_vectors,
            towers.text_vectors(queries),
            tracks,
            tags,
            queried_tags,
            towers.text_vectors(queried_tags),
        ),
        retrieve(free_vectors, free.texts(queries), tracks, tags, queried_tags, free.texts(queried_tags)),
    )


def measure() -> Iterable[Result]:
    towers, free = compare(corpus())
    for name, part, other in (
        ("text to audio", towers.text_to_audio, free.text_to_audio),
        ("audio to text", towers.audio_to_text, free.audio_to_text),
    ):
        for k, share in part.items():
            beside = f"training-free {other[k]:.3f}, chance {towers.chance[k]:.3f}"
            print(f"joint: recall at {k}, {name}: {share:.3f}, {beside}", file=sys.stderr)
    of = f"{towers.clips} held-out clips"
    recalls = towers.text_to_audio[10], free.text_to_audio[10]
    yield Result(f"joint: recall at 10, text to audio, {of}", *recalls, PEER, "share", 1.0)
    yield Result(f"joint: AUC of {towers.tags} tags, {of}", towers.tag_auc, free.tag_auc, PEER, "area", 1.0)
