from __future__ import annotations

from lightning_n2m.data.audioset import MUSIC, has_music_label, music_labels


def test_the_labels_are_the_130_of_appendix_d():
    labels = music_labels()
    assert len(labels) == len(set(labels.values())) == 130
    assert labels["/m/06by7"] == "Rock music"
    assert MUSIC not in labels


def test_names_are_compared_in_any_case():
    assert has_music_label(["speech", "rock music"])
    assert not has_music_label(["Speech", "Music"])
    assert not has_music_label([])
