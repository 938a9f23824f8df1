from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.backbones import musicnn
from lightning_n2m.evaluation import embedders, tagger
from lightning_n2m.evaluation.similarity import TagSpace
from lightning_n2m.evaluation.tagger import auc, tag_auc, tag_divergence, tags_in_prompt, voice_score

TAGS = musicnn.TAGS["MTT"]


def test_the_evaluating_tagger_is_not_the_labelling_one(monkeypatch):
    assert embedders.EVALUATION_CORPUS == "MTT"
    corpora = []
    load = musicnn.load_musicnn
    monkeypatch.setattr(musicnn, "load_musicnn", lambda corpus: corpora.append(corpus) or load(corpus))
    clip = torch.randn(1, 1, 50_000, generator=torch.Generator().manual_seed(0)) * 0.1
    tagger.predict_tags(clip, 16_000)
    TagSpace(torch.randn(5, 50)).embed_audio(clip[:, 0])
    embedders.load_embedder("musicnn").embed(clip, 16_000)
    assert set(corpora) == {"MTT"}


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A slow waltz played on piano alone", {"slow", "piano"}),
        ("Fast rock with drums and electric guitar", {"fast", "rock", "drums", "guitar"}),
        ("A nocturne for harps, no drums, 84 beats per minute", {"classical", "harp"}),
        ("harpsichord and harmonica", {"harpsichord"}),
        ("techno with a heavy beat, without any vocals", {"techno", "electronic", "beat", "beats"}),
    ],
)
def test_tags_named_by_a_prompt(prompt, expected):
    assert tags_in_prompt(prompt) == expected


def test_auc_is_the_share_of_pairs_in_order():
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0, 0.0])
    truth = torch.tensor([True, False, True, False, False])
    # Pairs: 3 beats 1, 2, 0; 2 beats 1 and 0 and ties with 2.
    assert auc(scores, truth) == pytest.approx(5.5 / 6)


def test_tags_of_few_prompts_do_not_count():
    prompts = ["piano"] * 6 + ["guitar"] * 6 + ["violin"] * 2
    logits = torch.zeros(14, 50)
    logits[:6, TAGS.index("piano")] = 1
    score = tag_auc(prompts, logits)
    assert score.tags == {"guitar": (6, 0.5), "piano": (6, 1.0)}
    assert score.mean == 0.75
    assert math.isnan(tag_auc(["a song"] * 20, torch.zeros(20, 50)).mean)


def test_divergence_is_that_of_the_two_distributions():
    generated, reference = torch.full((1, 50), -40.0), torch.full((1, 50), -40.0)
    reference[0, :2] = torch.tensor([0.8, 0.2]).log()
    generated[0, :2] = torch.tensor([0.5, 0.5]).log()
    expected = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert float(tag_divergence(generated, reference)) == pytest.approx(expected, rel=1e-5)
    assert float(tag_divergence(reference, reference)) == pytest.approx(0, abs=1e-9)


def test_voices_are_requested_by_any_of_their_words():
    assert tagger.requests_voices("A hymn sung by a choir")
    assert tagger.requests_voices("female vocals over drums")
    assert not tagger.requests_voices("a piano ballad without vocals")
    assert not tagger.requests_voices("an invoice")


def test_the_voice_score_is_the_largest_of_its_tags():
    logits = torch.zeros(3, 50)
    logits[0, TAGS.index("choir")] = 2
    logits[1, TAGS.index("no vocals")] = 5
    logits[2, TAGS.index("singing")] = 1
    assert voice_score(logits).tolist() == [2, 0, 1]
