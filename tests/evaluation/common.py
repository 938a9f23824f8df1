"""Data of an evaluation without a cascade: references and generated clips in files."""

from __future__ import annotations

from pathlib import Path

import torch

from lightning_n2m.audio.io import write
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet
from lightning_n2m.evaluation.clip_features import compute_features
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.excerpts import Excerpts
from lightning_n2m.evaluation.reference_embeddings import Reference

RATE = 16_000


def noise(seconds, seed):
    generator = torch.Generator().manual_seed(seed)
    return 0.1 * torch.randn(1, round(seconds * RATE), generator=generator)


class Files(EvaluationSet):
    """References of given lengths, in files."""

    name, seconds, excerpt_seconds = "files", 4.0, 3.2

    def __init__(self, folder: Path, lengths, prompts=None):
        self.training = []
        self.rows = []
        (folder / "generated").mkdir(parents=True)
        for number, length in enumerate(lengths):
            prompt = prompts[number] if prompts else f"a piano piece in C minor at {90 + number} bpm"
            file = write(folder / f"r{number}.wav", noise(length, number), RATE)
            write(folder / "generated" / f"k{number}.flac", noise(4, 100 + number), RATE)
            self.rows.append(EvaluationItem(f"k{number}", prompt, {}, str(file)))

    def items(self):
        return self.rows


class Level:
    """A fast embedder: level and largest sample of every second."""

    name, sample_rate, dimension = "level", RATE, 2

    def embed(self, audio, sample_rate):
        parts = audio[..., : 3 * sample_rate].unflatten(-1, (3, -1))
        return torch.stack([parts.square().mean(dim=-1), parts.amax(dim=-1)], dim=-1)[:, 0]


def evaluate(folder, lengths, prompts=None):
    source = Files(folder, lengths, prompts)
    excerpts = Excerpts.of(source, folder)
    references, other = excerpts.write_references(lambda x: compute_features(x, [Level()], []), "cpu")
    generated = compute_features(excerpts.generated(), [Level()], [])
    own = Reference((), (), references.tagger_embedding[:, None], references.logits, references.embedded)
    data = EvaluationData(
        excerpts.items, generated, references, own, False, {"own": own}, "own",
        embedder_rates={"level": RATE}, other_part_logits=other,
        one_seed_envelopes=generated.envelopes, other_seed_envelopes=references.envelopes,
    )  # fmt: skip
    return data, excerpts
