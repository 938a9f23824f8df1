from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.backbones import musicnn
from lightning_n2m.evaluation import embedders, similarity, tags
from lightning_n2m.evaluation.similarity import TagSpace
from lightning_n2m.evaluation.tags import auc, named, tag_auc, tag_divergence, voiced

TAGS = musicnn.TAGS["MTT"]


def test_the_tagger_that_judges_is_not_the_one_that_labels(monkeypatch):
    assert embedders.JUDGE == "MTT"
    asked = []
    load = musicnn.load_musicnn
    monkeypatch.setattr(musicnn, "load_musicnn", lambda corpus: asked.append(corpus) or load(corpus))
    clip = torch.randn(1, 1, 50_000, generator=torch.Generator().manual_seed(0)) * 0.1
    tags.hear(clip, 16_000)
    TagSpace(torch.randn(5, 50)).embed_audio(clip[:, 0])
    embedders.load_embedder("musicnn").embed(clip, 16_000)
    assert set(asked) == {"MTT"}
    assert similarity.JUDGE == tags.JUDGE == "MTT"


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
def test_words_of_a_prompt(prompt, expected):
    assert named(prompt) == expected


def test_auc_is_the_share_of_pairs_in_order():
    scores = torch.tensor([3.0, 1.0, 2.0, 2.0, 0.0])
    truth = torch.tensor([True, False, True, False, False])
    # Pairs: 3 beats 1, 2, 0; 2 beats 1 and 0 and ties with 2.
    assert auc(scores, truth) == pytest.approx(5.5 / 6)


def test_tags_that_few_prompts_name_do_not_count():
    prompts = ["piano"] * 6 + ["guitar"] * 6 + ["violin"] * 2
    logits = torch.zeros(14, 50)
    logits[:6, TAGS.index("piano")] = 1
    score = tag_auc(prompts, logits)
    assert score.tags == {"guitar": (6, 0.5), "piano": (6, 1.0)}
    assert score.mean == 0.75
    assert math.isnan(tag_auc(["a song"] * 20, torch.zeros(20, 50)).mean)


def test_divergence_is_that_of_the_two_distributions():
    made, real = torch.full((1, 50), -40.0), torch.full((1, 50), -40.0)
    real[0, :2] = torch.tensor([0.8, 0.2]).log()
    made[0, :2] = torch.tensor([0.5, 0.5]).log()
    expected = 0.8 * math.log(0.8 / 0.5) + 0.2 * math.log(0.2 / 0.5)
    assert float(tag_divergence(made, real)) == pytest.approx(expected, rel=1e-5)
    assert float(tag_divergence(real, real)) == pytest.approx(0, abs=1e-9)


def test_voices_are_asked_for_by_any_word_of_them():
    assert tags.asks_for_voices("A hymn sung by a choir")
    assert tags.asks_for_voices("female vocals over drums")
    assert not tags.asks_for_voices("a piano ballad without vocals")
    assert not tags.asks_for_voices("an invoice")


def test_voices_are_heard_by_any_of_their_tags():
    logits = torch.zeros(3, 50)
    logits[0, TAGS.index("choir")] = 2
    logits[1, TAGS.index("no vocals")] = 5
    logits[2, TAGS.index("singing")] = 1
    assert voiced(logits).tolist() == [2, 0, 1]


def test_a_prompt_lies_near_the_clip_that_has_what_it_names():
    generator = torch.Generator().manual_seed(0)
    space = TagSpace(torch.randn(200, 50, generator=generator) * 2 - 4)
    heard = torch.full((2, 50), -4.0)
    heard[0, TAGS.index("piano")] = heard[1, TAGS.index("guitar")] = 2.0
    cosines = space.place(heard) @ space.embed_text(["solo piano", "a guitar piece"]).T
    assert cosines.diagonal().min() > cosines[~torch.eye(2, dtype=torch.bool)].max() + 0.3


def test_shuffled_pairs_are_all_that_do_not_belong_together():
    one = torch.eye(3)
    other = torch.tensor([[1.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    found = similarity.similarity(one, other)
    assert found.value == pytest.approx(2 / 3)
    assert found.shuffled == pytest.approx(1 / 6)
