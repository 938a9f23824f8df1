from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.data.schema import Captions, Clip
from lightning_n2m.data.text_batch import TextBatch, long_texts, pack, short_texts
from lightning_n2m.errors import InputError

WORDS = st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=6).map(" ".join)


def count(text):
    """Words and commas, each a token."""
    return len(text.replace(",", " ,").split())


CLIP = Clip(
    "track",
    0,
    0.0,
    30.0,
    24_000,
    title="Morning Light",
    artist="Nobody",
    genres=("folk", "waltz"),
    tags=("flute", "slow", "folk"),
    descriptions=("A slow folk waltz on the flute.",),
)
CAPTIONS = Captions(
    "track-00", ("A gentle tune for a walk.", "Someone plays the flute."), ("calm", "flute", " ")
)
NAMELESS = Clip("track", 0, 0.0, 30.0, 24_000)


@given(texts=st.lists(WORDS, max_size=12), budget=st.integers(1, 12))
def test_pieces_keep_within_the_budget_but_for_a_single_longer_text(texts, budget):
    for piece in pack(texts, budget, count):
        assert count(piece) <= budget or piece in texts


@given(texts=st.lists(WORDS, max_size=12), budget=st.integers(1, 12))
def test_every_text_is_in_exactly_one_piece_and_none_is_cut(texts, budget):
    assert [text for piece in pack(texts, budget, count) for text in piece.split(", ")] == texts


@given(texts=st.lists(WORDS, max_size=12), budget=st.integers(1, 12))
def test_no_piece_could_have_taken_the_next_text(texts, budget):
    pieces = pack(texts, budget, count)
    for piece, following in itertools.pairwise(pieces):
        assert count(f"{piece}, {following.split(', ')[0]}") > budget


def test_short_texts_are_title_artist_tags_and_short_labels_without_repetition():
    assert short_texts(CLIP, CAPTIONS) == [
        "Morning Light",
        "Nobody",
        "folk",
        "waltz",
        "flute",
        "slow",
        "calm",
    ]
    assert short_texts(CLIP, None) == ["Morning Light", "Nobody", "folk", "waltz", "flute", "slow"]
    assert short_texts(NAMELESS, None) == []


def test_long_texts_are_descriptions_and_long_labels():
    assert long_texts(CLIP, CAPTIONS) == ["A slow folk waltz on the flute.", *CAPTIONS.long]
    assert long_texts(NAMELESS, None) == []


@pytest.mark.parametrize("budget", [3, 8, 64])
def test_long_texts_stay_apart_and_short_ones_are_all_there(budget):
    for seed in range(20):
        elements = TextBatch(budget, count).elements(CLIP, CAPTIONS, random.Random(seed))
        assert elements[:3] == long_texts(CLIP, CAPTIONS)
        packed = [text for element in elements[3:] for text in element.split(", ")]
        assert sorted(packed) == sorted(short_texts(CLIP, CAPTIONS))


def test_short_texts_meet_in_ever_new_company():
    batch = TextBatch(8, count)
    packed = {tuple(batch.elements(CLIP, CAPTIONS, random.Random(seed))[3:]) for seed in range(50)}
    assert len(packed) > 40


def test_every_element_is_drawn_equally_often():
    batch = TextBatch(64, count)
    draws = Counter(batch.draw(CLIP, CAPTIONS, random.Random(seed)) for seed in range(4000))
    # Three long texts and one piece that holds all short ones, in whatever order.
    packed = sum(number for text, number in draws.items() if text not in long_texts(CLIP, CAPTIONS))
    observed = [draws[text] for text in long_texts(CLIP, CAPTIONS)] + [packed]
    assert sum(observed) == 4000
    # 16.3 is exceeded once in a thousand times by chance, with three degrees of freedom.
    assert sum((number - 1000) ** 2 / 1000 for number in observed) < 16.3


def test_nothing_known_is_the_empty_text():
    assert TextBatch(64, count).draw(NAMELESS, None, random.Random(0)) == ""
    assert TextBatch(64, count).draw(NAMELESS, Captions("track-00"), random.Random(0)) == ""


def test_one_seed_draws_one_text():
    batch = TextBatch(8, count)
    draws = [batch.draw(CLIP, CAPTIONS, random.Random(3)) for _ in range(5)]
    assert len(set(draws)) == 1


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_the_draws_is_of_pseudo_labels(share: float) -> None:
    texts = TextBatch(64, count, share)
    labels = {*CAPTIONS.long, "calm, flute", "flute, calm"}
    drawn = [texts.draw(CLIP, CAPTIONS, random.Random(seed)) for seed in range(2000)]
    assert sum(text in labels for text in drawn) / 2000 == pytest.approx(share, abs=0.04)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_where_one_kind_is_missing_the_other_is_drawn(share: float) -> None:
    texts = TextBatch(64, count, share)
    assert texts.draw(CLIP, None, random.Random(0))
    assert texts.draw(NAMELESS, CAPTIONS, random.Random(0)) in {*CAPTIONS.long, "calm, flute", "flute, calm"}
    assert texts.draw(NAMELESS, None, random.Random(0)) == ""


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(InputError, match=r"pseudo_labels is 1\.5"):
        TextBatch(64, count, 1.5)


HYMN = Clip(
    "0" * 16, 0, 0.0, 30.0, 24_000, title="Hymn", tags=("slow", "organ", "choir"), descriptions=("A hymn.",)
)
HYMN_LABELS = Captions(HYMN.key, ("An organ plays.",), ("church", "reverb"))


@pytest.mark.parametrize("pseudo_labels", [None, 0.3])
def test_with_fixed_tag_orders_every_caption_that_is_drawn_is_listed(pseudo_labels: float | None) -> None:
    texts = TextBatch(4, lambda text: len(text.split()), pseudo_labels, tag_orders=3)
    listed = texts.drawable(HYMN, HYMN_LABELS)
    drawn = {texts.draw(HYMN, HYMN_LABELS, random.Random(seed)) for seed in range(2000)}
    assert drawn == set(listed)
    assert len(listed) == len(set(listed))


def test_without_fixed_orders_sentences_and_single_tags_are_listed() -> None:
    texts = TextBatch(8, lambda text: len(text.split()))
    assert texts.drawable(HYMN, HYMN_LABELS) == ["A hymn.", "An organ plays."]
    single = Clip("0" * 16, 0, 0.0, 30.0, 24_000, tags=("slow",))
    assert texts.drawable(single, None) == ["slow"]


def test_the_orders_of_a_clip_are_its_own_and_always_the_same() -> None:
    def captions(clip: Clip) -> list[str]:
        return TextBatch(99, len, tag_orders=4).drawable(clip, HYMN_LABELS)

    other = Clip("1" * 16, 0, 0.0, 30.0, 24_000, title="Hymn", tags=HYMN.tags, descriptions=HYMN.descriptions)
    assert captions(HYMN) == captions(HYMN)
    assert captions(HYMN) != captions(other)


@pytest.mark.parametrize("orders", [0, -1])
def test_fewer_than_one_order_is_refused(orders: int) -> None:
    with pytest.raises(InputError, match=r"data\.tag_orders"):
        TextBatch(8, len, tag_orders=orders)
