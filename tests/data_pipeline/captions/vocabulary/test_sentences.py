"""Answers become sentences that describe music."""

from __future__ import annotations

import pytest

from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.sentences import clean, fault, split


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("A slow waltz for solo piano with a gentle melody.", None),
        ("The mood is dark and despairing, and the tempo is slow.", None),
        ("The music is loud and heavy with a strong beat.", None),
        ("A slow waltz.", "too short"),
        ("A slow waltz for piano with a melody that", "unfinished"),
        ("The cat sat on the old mat in the kitchen.", "not on music"),
        ("I think the piano and the drums are lovely.", "not on how it sounds"),
        ("This jazz song was released in 1987 with piano.", "not on how it sounds"),
        ("A jazz song called Blue Moon with piano and drums.", "names the song"),
        ("A piano over a piano over a piano with drums.", "repeats itself"),
        ("Ein Walzer für Klavier, très doux, with piano and drums.", "strange characters"),
        (" ".join(["piano", *["x"] * 40]) + ".", "too long"),
    ],
)
def test_only_sentences_on_how_music_sounds_are_kept(sentence: str, reason: str | None) -> None:
    assert fault(sentence, Song("Blue Moon", "Ann")) == reason


def test_only_the_first_paragraph_is_an_answer() -> None:
    assert split(" A waltz. With drums!\n\nThese are examples.") == ["A waltz.", "With drums!"]


def test_sentences_of_the_examples_are_dropped() -> None:
    copied = "A relaxed swing jazz tune for piano, double bass and brushed drums."
    result = clean([(Song("x"), copied), (Song("y"), "A quiet jazz tune for piano and brushed drums.")])
    assert [caption.text for caption in result.captions] == ["A quiet jazz tune for piano and brushed drums."]
    assert result.sentences == result.dropped.total() + len(result.captions)
