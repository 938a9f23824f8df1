"""Captions are compared with the facts of a piece."""

from __future__ import annotations

import pytest

from data_pipeline.captions.labelling.label_accuracy import families_in, genres_in, measure_label_accuracy


@pytest.mark.parametrize(
    ("caption", "families", "genres"),
    [
        ("A waltz for violin.", {"strings"}, {"waltz", "jazz waltz", "country waltz"}),
        ("Rock with double bass drum.", {"drums"}, {"rock", "rock ballad"}),
        ("A double bass and a saxophone.", {"bass", "woodwind"}, set()),
        ("A panoramic flutter.", set(), set()),
        ("Heavy metal with distorted guitars.", {"guitar"}, {"heavy metal"}),
    ],
)
def test_captions_are_read_as_a_listener_would(caption: str, families: set[str], genres: set[str]) -> None:
    assert families_in(caption) == families
    assert genres_in(caption) >= genres
    assert bool(genres_in(caption)) == bool(genres)


def test_accuracy_counts_correct_captions() -> None:
    truth = {"families": ["strings"], "genre": "waltz", "drums": False}
    found = measure_label_accuracy(
        [(truth, ["A waltz for violin.", "A tango for violin.", "Loud music."]), ({}, ["A waltz."])]
    )
    assert found is not None
    assert (found.captions, found.family, found.genre) == (3, pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert (found.family_named, found.genre_named) == (1.0, 0.5)
    assert measure_label_accuracy([({}, ["A waltz."])]) is None
