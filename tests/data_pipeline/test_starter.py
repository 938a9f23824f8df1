"""The starter corpus, with an accompanist and a synthesizer that need no packages."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline import starter as starter_module
from data_pipeline.__main__ import main
from data_pipeline.scan.walk import walk
from data_pipeline.starter_corpus import description
from data_pipeline.starter_corpus.events import DRUMS, Event, perform
from data_pipeline.starter_corpus.melody import Note
from data_pipeline.starter_corpus.synthesizer import RATE
from tests.data_pipeline.conftest import tree


class Player:
    """Chords on the beat, and a drum."""

    def play(self, groove, bars, metre, tempo, seed, extra=""):  # type: ignore[no-untyped-def]
        notes = [Note(bar * metre.beats, 1, 48 + chords[0].root, 80) for bar, chords in enumerate(bars)]
        strokes = [
            Event(60 / tempo * beat, 2, DRUMS, "on", 38, 90) for beat in range(len(bars) * metre.beats)
        ]
        return sorted([*perform(notes, 5, 33, tempo), *strokes])


class Sines:
    """A decaying sine a note."""

    def render(self, events, font: str, seconds: float) -> np.ndarray:  # type: ignore[no-untyped-def]
        samples = np.zeros(round(seconds * RATE), dtype=np.float32)
        time_s = np.arange(RATE // 2) / RATE
        for event in events:
            first = round(event.time * RATE)
            if event.kind == "on" and first < len(samples):
                tone = np.exp(-4 * time_s) * np.sin(2 * np.pi * 440 * 2 ** ((event.value - 69) / 12) * time_s)
                samples[first : first + len(tone)] += tone[: len(samples) - first] * event.velocity / 127
        return samples

    def render_drums(self, events, font: str, kit: str, seconds: float) -> np.ndarray:  # type: ignore[no-untyped-def]
        return self.render(events, font, seconds)


@pytest.fixture
def tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starter_module, "_load_tools", lambda cache, edition: (Player(), Sines()))


def make(output: Path, pieces: int, *more: str) -> int:
    arguments = ["--pieces", str(pieces), "--recorded", "false", "--workers", "1", *more]
    return main(["starter", "--output", str(output), *arguments])


@pytest.mark.usefixtures("tools")
def test_pieces_are_what_their_metadata_says(tmp_path: Path) -> None:
    assert make(tmp_path, 12) == 0
    lines = [json.loads(line) for line in (tmp_path / "metadata.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == [f"rendered/{number:06d}.flac" for number in range(12)]
    assert lines[10]["split"] == "validation"  # as splits.toml has it
    for line in lines:
        samples, rate = soundfile.read(tmp_path / line["path"])
        assert (rate, samples.shape) == (24_000, (720_000,))
        assert 20 * np.log10(np.sqrt(np.mean(samples**2))) == pytest.approx(-18, abs=0.5)
        assert np.abs(samples).max() <= 10 ** (-1 / 20)
        assert np.flatnonzero(np.abs(samples) > 0.01)[0] < 2 * rate
        truth = line["truth"]
        assert truth["genre"] == line["genres"][0]
        assert truth["instruments"][0] == truth["lead"]
        assert ("drums" in line["tags"]) == truth["drums"]
        assert truth["solo"] == (len(truth["instruments"]) == 1 and not truth["drums"])
        assert line["licence"] == "CC0-1.0"
        assert 4 <= len(line["descriptions"]) <= 5


@pytest.mark.usefixtures("tools")
def test_a_rerun_makes_only_what_is_missing_and_more_pieces_leave_the_first_ones(tmp_path: Path) -> None:
    assert make(tmp_path / "a", 6) == 0
    whole = tree(tmp_path / "a")
    kept = (tmp_path / "a/rendered/000000.flac").stat().st_mtime_ns
    (tmp_path / "a/rendered/000003.flac").unlink()
    (tmp_path / "a/rendered/.000004.flac.99.part").write_bytes(b"half")
    assert make(tmp_path / "a", 6) == 0
    assert tree(tmp_path / "a") == whole
    assert (tmp_path / "a/rendered/000000.flac").stat().st_mtime_ns == kept
    assert make(tmp_path / "a", 8) == 0
    assert {
        name: data for name, data in tree(tmp_path / "a").items() if name in whole and "meta" not in name
    } == {name: data for name, data in whole.items() if "meta" not in name}


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize("edition", ["1", "2"])
def test_new_captions_reach_rendered_pieces_without_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, edition: str
) -> None:
    assert make(tmp_path, 2, "--edition", edition) == 0
    first = tree(tmp_path)
    facts = json.loads((tmp_path / "rendered/000001.json").read_text())
    assert ("first_beat_s" in facts["truth"]) == ("chords" in facts["truth"]) == (edition == "2")

    def refuse(unit: object) -> None:
        raise AssertionError("rendered again")

    monkeypatch.setattr(starter_module, "render", refuse)
    assert make(tmp_path, 2, "--edition", edition) == 0
    assert tree(tmp_path) == first
    for name in ("sentences", "varied_sentences"):
        monkeypatch.setattr(description, name, lambda truth, rng: (f"New words for {truth.lead}.",))
    assert make(tmp_path, 2, "--edition", edition) == 0
    again = tree(tmp_path)
    changed = {name for name in first if first[name] != again[name]}
    assert changed == {"metadata.jsonl", "rendered/000000.json", "rendered/000001.json"}
    new = json.loads((tmp_path / "rendered/000001.json").read_text())
    assert new.pop("descriptions") == [f"New words for {facts['truth']['lead']}."]
    facts.pop("descriptions")
    assert new == facts


@pytest.mark.usefixtures("tools")
def test_damaged_facts_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(tmp_path, 1) == 0
    (tmp_path / "rendered/000000.json").write_text('{"truth": {"lead": 3}}')
    assert make(tmp_path, 1) == 2
    assert "000000.json is damaged" in capsys.readouterr().err


@pytest.mark.usefixtures("tools")
def test_another_seed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert make(tmp_path, 1) == 0
    assert make(tmp_path, 1, "--seed", "5") == 2
    assert "seed" in capsys.readouterr().err


@pytest.mark.usefixtures("tools")
def test_a_corpus_goes_through_manifest_and_shard(tmp_path: Path) -> None:
    make(tmp_path / "music", 4)
    metadata = ["--metadata", str(tmp_path / "music/metadata.jsonl"), "--workers", "1"]
    assert (
        main(
            [
                "manifest",
                "--source",
                str(tmp_path / "music"),
                *metadata,
                "--output",
                str(tmp_path / "m.jsonl"),
            ]
        )
        == 0
    )
    assert len(list(walk(tmp_path / "music"))) == 4
    assert (
        main(
            [
                "shard",
                "--manifest",
                str(tmp_path / "m.jsonl"),
                "--output",
                str(tmp_path / "s"),
                "--workers",
                "1",
            ]
        )
        == 0
    )
    assert '"tempo_bpm"' in (tmp_path / "m.jsonl").read_text()
