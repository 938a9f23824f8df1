"""Copies of one recording are found by ear; different recordings are not taken for copies."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import soundfile

from data_pipeline.__main__ import main
from data_pipeline.scan.near_duplicates import DIFFERENT, near_duplicates
from data_pipeline.scan.signature import BITS
from data_pipeline.scan.track import read_manifest
from lightning_n2m.audio.io import read
from tests.data_pipeline.conftest import CLIPS, NAMES


def flipped(bits: np.ndarray, count: int, seed: int) -> np.ndarray:
    where = np.random.default_rng(seed).choice(BITS, count, replace=False)
    return bits ^ np.isin(np.arange(BITS), where)


def test_pairs_are_those_that_comparing_all_with_all_finds() -> None:
    draw = np.random.default_rng(0)
    originals = draw.integers(0, 2, (300, BITS)).astype(bool)
    copies = [flipped(originals[i], count, i) for i, count in enumerate(draw.integers(0, 30, 100))]
    bits = np.concatenate([originals, copies])
    apart = (bits[:, None] != bits[None]).mean(axis=-1)
    wanted = {(i, j) for i, j in itertools.combinations(range(400), 2) if apart[i, j] <= DIFFERENT}
    assert len(wanted) == 100
    found = set(near_duplicates((i, np.packbits(row).tobytes()) for i, row in enumerate(bits)))
    assert found <= wanted
    assert len(found) >= 99  # a piece of 24 bits without a difference is almost sure, not certain


def test_many_equal_tracks_do_not_take_the_square_of_their_number() -> None:
    equal = np.packbits(np.random.default_rng(0).integers(0, 2, BITS)).tobytes()
    assert len(list(near_duplicates((i, equal) for i in range(500)))) < 500 * 200 * 21


def test_tracks_without_a_signature_are_not_duplicates(tmp_path: Path) -> None:
    """Too short, or a tone that never changes: two empty signatures are not alike."""
    assert list(near_duplicates((i, bytes(BITS // 8)) for i in range(10))) == []
    music = tmp_path / "music"
    music.mkdir()
    for number in range(3):
        noise = np.random.default_rng(number).normal(size=6000)
        soundfile.write(music / f"short{number}.wav", 0.1 * noise, 12_000)
        tone = np.sin(2 * np.pi * 100 * (number + 3) * np.arange(96_000) / 12_000)
        soundfile.write(music / f"tone{number}.wav", 0.1 * tone, 12_000)
    arguments = ["--source", str(music), "--minimum-seconds", "0.1", "--workers", "1"]
    assert main(["manifest", *arguments, "--output", str(tmp_path / "m.jsonl")]) == 0
    assert len(read_manifest(tmp_path / "m.jsonl")) == 6


def test_the_best_copy_is_kept_and_the_others_are_named(tmp_path: Path) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for name in NAMES:
        shutil.copy(CLIPS / f"{name}.ogg", music)
    waltz = read(CLIPS / "waltz.ogg")
    soundfile.write(music / "z waltz.flac", waltz.samples.T.numpy(), waltz.sample_rate)
    soundfile.write(music / "a waltz.mp3", waltz.samples.T.numpy() * 0.7, waltz.sample_rate)
    soundfile.write(music / "half a waltz.flac", waltz.samples.T.numpy()[: 15 * 24_000], waltz.sample_rate)
    shutil.copy(music / "z waltz.flac", music / "zz waltz.flac")
    arguments = ["--source", str(music), "--minimum-seconds", "10", "--workers", "1"]
    assert main(["manifest", *arguments, "--output", str(tmp_path / "m.jsonl")]) == 0
    listed = {track.source for track in read_manifest(tmp_path / "m.jsonl")}
    assert listed == {f"{name}.ogg" for name in NAMES if name != "waltz"} | {
        "z waltz.flac",
        "half a waltz.flac",
    }
    lines = map(json.loads, (tmp_path / "rejected.jsonl").read_text().splitlines())
    assert {line["path"]: (line["reason"], line["detail"]) for line in lines} == {
        "a waltz.mp3": ("duplicate", "the same recording as z waltz.flac"),
        "waltz.ogg": ("duplicate", "the same recording as z waltz.flac"),
        "zz waltz.flac": ("duplicate", "the same file as z waltz.flac"),
    }
