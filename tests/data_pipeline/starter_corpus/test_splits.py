"""Pieces keep their split."""

from __future__ import annotations

from collections import Counter

from data_pipeline.starter_corpus.description import (
    Truth,
    is_reserved,
)
from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from data_pipeline.starter_corpus.splits import split


def test_pieces_keep_their_split_whatever_their_bytes() -> None:
    """Listed ones as they are listed, others in the shares that every track is split in."""
    base = {
        "groove": "", "tempo_bpm": 100, "tempo": "slow", "key": "A", "mode": "major", "metre": "4/4",
        "instruments": (), "families": (), "drums": False, "solo": True, "sound_font": "",
    }  # fmt: skip
    free, apart = (
        next((lead, genre) for lead in INSTRUMENTS for genre in ("waltz", "ska", "jig")
             if is_reserved(Truth(lead=lead, genre=genre, seed="0/0", **base)) == wanted)
        for wanted in (False, True)
    )  # fmt: skip

    def split_of(seed: str, kind: tuple[str, str] = free) -> str:
        return split(Truth(lead=kind[0], genre=kind[1], seed=seed, **base))

    assert [split_of(f"0/{n}") for n in (9, 10, 31, 1585, 1593)] == [
        "train",
        "validation",
        "test",
        "test",
        "validation",
    ]
    assert {split_of(f"{seed}/5", apart) for seed in range(20)} == {"test"}
    for pieces in ([f"0/{n}" for n in range(1600)], [f"7/{n}" for n in range(1600)]):
        shares = Counter(map(split_of, pieces))
        assert 0.03 < shares["validation"] / 1600 < 0.07 and 0.03 < shares["test"] / 1600 < 0.07
