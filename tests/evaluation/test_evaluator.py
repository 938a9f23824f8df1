"""Metrics and report without a cascade: few clips, missing clips, and texts that hold HTML."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path

import pytest
import torch

from lightning_n2m.audio.io import write
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet
from lightning_n2m.data.schema import Clip
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.attribute_predictions import AttributeProbes
from lightning_n2m.evaluation.clip_features import compute_features
from lightning_n2m.evaluation.evaluation_data import EvaluationData
from lightning_n2m.evaluation.excerpts import Excerpts
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.metric_suite import MetricSuite
from lightning_n2m.evaluation.nearest_training_clip import Match, Threshold
from lightning_n2m.evaluation.reference_embeddings import Reference
from lightning_n2m.evaluation.report import write_report

RATE = 16_000
SCRIPT = '<script>alert("x")</script><img src=x onerror=alert(1)> & $a$ \u202e\x07'


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


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_fewer_clips_give_fewer_metrics_and_no_error(tmp_path):
    names = []
    for count in (1, 2, 8):
        data, excerpts = evaluate(tmp_path / str(count), [4.0] * count)
        result = MetricSuite("x: ", "command")(data)
        names.append({row.name for row in result.metrics})
        assert all(row.command == "command" and row.name.startswith("x: ") for row in result.metrics)
        write_report(tmp_path / str(count), "title", result, excerpts)
    assert names[0] < names[1] < names[2]
    assert "x: KL of tags" in names[0]
    assert "x: KAD level" in names[2] - names[1]  # halves of two clips are too few
    assert "x: largest spectral line, dB" in names[2] - names[1]


def test_references_that_are_too_short_are_skipped(tmp_path):
    data, excerpts = evaluate(tmp_path, [4.0, 1.0, 3.1, 30.0])
    # 3.1 s lack less than 5 % of 3.2 s and are padded.
    assert [item.key for item in excerpts.items] == ["k0", "k2", "k3"]
    assert excerpts.notes == ("1 of 4 prompts are skipped: their references are shorter than 3.2 s.",)
    assert {audio.shape for audio in excerpts.references()} == {(1, round(3.2 * RATE))}
    assert len(data.generated.logits) == 3


def test_features_keep_the_order_of_the_items(tmp_path, monkeypatch):
    source = Files(tmp_path, [4.0] * 3)
    monkeypatch.setattr(
        source,
        "references",
        lambda items, rate: reversed(list(EvaluationSet.references(source, items, rate))),
    )
    excerpts = Excerpts.of(source, tmp_path)
    features, _ = excerpts.write_references(lambda x: compute_features(x, [Level()], []), "cpu")
    again = compute_features(excerpts.references(), [Level()], [])
    torch.testing.assert_close(features.logits, again.logits, atol=0.01, rtol=0)  # files have 16 bits


def test_a_missing_clip_is_reported(tmp_path):
    source = Files(tmp_path, [4.0] * 2)
    (tmp_path / "generated" / "k1.flac").unlink()
    with pytest.raises(InputError, match=r"k1\.flac is missing; run the same 'test' again"):
        Excerpts.of(source, tmp_path)


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_texts_of_strangers_are_escaped(tmp_path):
    data, excerpts = evaluate(tmp_path, [4.0] * 2, [SCRIPT, "a song"])
    result = MetricSuite("x: ", f"python {SCRIPT}")(data)
    result.metrics[0] = dataclasses.replace(result.metrics[0], name=SCRIPT, evaluator=SCRIPT)
    result.notes.append(SCRIPT)
    nearest = Clip("0123456789abcdef", 0, 0.0, 30.0, RATE, title=SCRIPT)
    threshold = Threshold(0.5, 0.4, 0.9)
    result.memorisation = MemorisationResult(
        [Match(0, 0.9, 0.9, 0)] * 2, threshold, threshold, [0], [nearest] * 2
    )
    write_report(tmp_path, SCRIPT, result, excerpts)
    for name in ("index.html", "audio.html"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "<script" not in page and "<img src=x" not in page
        assert "\u202e" not in page and "\x07" not in page
        assert html.escape('<script>alert("x")</script>') in page
        assert 'name="viewport"' in page


def test_probes_are_fitted_to_whatever_truth_is_known():
    generator = torch.Generator().manual_seed(0)
    truths = [{"genre": "waltz" if n % 2 else "polka", "families": "piano", "drums": "yes"} for n in range(8)]
    clips = tuple(Clip(f"{n:016x}", 0, 0.0, 30.0, RATE, truth=truth) for n, truth in enumerate(truths))
    axis = torch.tensor([[1.0 if n % 2 else -1.0] for n in range(8)])
    patches = (axis * torch.ones(1, 200) + torch.randn(8, 200, generator=generator))[:, None]
    reference = Reference(clips, ("s",) * 8, patches, torch.zeros(8, 50), {})
    probes = AttributeProbes(reference)
    # Families that are no list and drums that are no boolean count as unknown.
    assert probes.families is None and probes.drums is None
    assert probes.genres is not None
    assert probes.genre_accuracy(reference) == (1.0, 8)
    assert probes.family_accuracy(reference)[1] == probes.drums_accuracy(reference)[1] == 0
