"""Features of generated and reference clips, computed a few clips at a time: audio is not kept in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_n2m.evaluation.embedders import MUSICNN_STEP, Embedder
from lightning_n2m.evaluation.envelopes import loudness_envelope
from lightning_n2m.evaluation.reference_embeddings import RATE
from lightning_n2m.evaluation.similarity import clip_vectors
from lightning_n2m.evaluation.spectral_lines import clip_spectrum
from lightning_n2m.evaluation.tagger import predict_tags
from lightning_n2m.mulan.joint import JointModel

BATCH = 8


@dataclass(frozen=True)
class ClipFeatures:
    """Features of clips in one order, on the CPU; about 30 kB a clip.

    Args:
        logits: The evaluating tagger's log-odds of the tags, ``(clips, 50)``.
        tagger_embedding: Mean over patches of its penultimate layer, ``(clips, 200)``.
        embedded: For each embedder, ``(clips, patches, dimension)`` in half precision, as references are
            cached.
        vectors: For each joint model, unit vectors ``(clips, dimension)``.
        spectra: Median spectra in dB, ``(clips, bins)``.
        envelopes: Loudness in dB, ``(clips, frames)``.
    """

    logits: Tensor
    tagger_embedding: Tensor
    embedded: dict[str, Tensor]
    vectors: dict[str, Tensor]
    spectra: Tensor
    envelopes: Tensor

    def take(self, order: Sequence[int]) -> ClipFeatures:
        """The clips at these places, in this order."""
        index = torch.tensor(order, dtype=torch.long)
        return ClipFeatures(
            self.logits[index],
            self.tagger_embedding[index],
            {name: x[index] for name, x in self.embedded.items()},
            {name: x[index] for name, x in self.vectors.items()},
            self.spectra[index],
            self.envelopes[index],
        )


def compute_features(
    clips: Iterable[Tensor],
    embedders: Sequence[Embedder],
    joint_models: Sequence[JointModel],
    device: torch.device | str = "cpu",
) -> ClipFeatures:
    """Compute the features of 16 kHz clips ``(1, t)`` of equal length.

    Args:
        clips: The clips; at most `BATCH` of them are in memory at once.
        embedders: Embedders for distances.
        joint_models: Joint models for similarities.
        device: Where the models compute.
    """
    return _join([_batch_features(part.to(device), embedders, joint_models) for part in batches(clips)])


def embed_clips(clips: Iterable[Tensor], embedder: Embedder, device: torch.device | str = "cpu") -> Tensor:
    """Embeddings ``(clips, patches, dimension)`` of 16 kHz clips ``(1, t)``, in half precision on the CPU."""
    parts = [embedder.embed(part.to(device), RATE).cpu().half() for part in batches(clips)]
    with torch.autocast("cpu", enabled=False):  # which cannot concatenate float16
        return torch.cat(parts)


def batches(clips: Iterable[Tensor], size: int = BATCH) -> Iterator[Tensor]:
    """Stack clips into batches of at most ``size``."""
    remaining = iter(clips)
    while part := list(itertools.islice(remaining, size)):
        yield torch.stack(part)


def _batch_features(
    audio: Tensor, embedders: Sequence[Embedder], joint_models: Sequence[JointModel]
) -> ClipFeatures:
    tagged = predict_tags(audio, RATE, MUSICNN_STEP)
    return ClipFeatures(
        tagged.logits.cpu(),
        tagged.embedding.mean(dim=1).cpu(),
        {e.name: e.embed(audio, RATE).cpu().half() for e in embedders},
        {model.name: clip_vectors(model, audio, RATE).cpu() for model in joint_models},
        clip_spectrum(audio).cpu(),
        loudness_envelope(audio, RATE).cpu(),
    )


@torch.autocast("cpu", enabled=False)  # which cannot concatenate float16
def _join(parts: Sequence[ClipFeatures]) -> ClipFeatures:
    first = parts[0]
    return ClipFeatures(
        torch.cat([part.logits for part in parts]),
        torch.cat([part.tagger_embedding for part in parts]),
        {name: torch.cat([part.embedded[name] for part in parts]) for name in first.embedded},
        {name: torch.cat([part.vectors[name] for part in parts]) for name in first.vectors},
        torch.cat([part.spectra for part in parts]),
        torch.cat([part.envelopes for part in parts]),
    )
