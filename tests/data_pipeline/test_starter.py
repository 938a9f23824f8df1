"""The starter corpus, with an accompanist and a synthesizer that need no packages."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data_pipeline import starter as starter_module
from data_pipeline.__main__ import main
from data_pipeline.scan.walk import walk
from data_pipeline.starter_corpus import debian, recordings
from data_pipeline.starter_corpus.events import DRUMS, Event, perform
from data_pipeline.starter_corpus.melody import Note
from data_pipeline.starter_corpus.mix import level, mix
from data_pipeline.starter_corpus.synthesizer import RATE
from lightning_n2m.errors import InputError
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


def test_the_mix_brings_the_melody_forward_and_keeps_drums_in_range() -> None:
    rng = np.random.default_rng(0)
    lead, rest, drums = (rng.normal(size=48_000) * scale for scale in (0.001, 0.1, 0.9))
    energy = lambda samples: 10 * np.log10(np.mean(samples**2))  # noqa: E731
    mixed = mix(lead, rest, drums)
    # Rest 0 dB, lead +1 dB, drums -1 dB of the rest: independent noises add up in energy.
    assert energy(mixed) - energy(rest) == pytest.approx(10 * np.log10(1 + 10**0.1 + 10**-0.1), abs=0.1)
    assert np.array_equal(mix(lead, 0 * rest, 0 * drums), lead)


@pytest.mark.parametrize("crest", [1, 10, 40])
def test_loudness_is_even_and_nothing_clips(crest: int) -> None:
    samples = np.random.default_rng(0).normal(size=240_000) * 0.01
    samples[::6000] *= crest
    levelled = level(samples)
    assert 10 * np.log10(np.mean(levelled**2)) == pytest.approx(-18, abs=0.3)
    assert np.abs(levelled).max() < 10 ** (-1 / 20)
    with pytest.raises(RuntimeError, match="silent"):
        level(0 * samples)


@pytest.fixture
def unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clips: Path) -> Path:
    """Packages with one or two songs each, unpacked."""
    for package in recordings.packages():
        root = tmp_path / "cache" / package.name
        copyright_file = root / "usr/share/doc" / package.name / "copyright"
        copyright_file.parent.mkdir(parents=True)
        # Any text that the proof matches: the expression itself, its operators taken out.
        text = package.proof.replace("\\", "").replace(".{0,80}", "x ").replace(".{0,60}", "x ")
        copyright_file.write_text(text.replace(".*", "x ").replace(" ?", " ").replace(" ", "\n  "))
        name = package.pattern.replace("**", "deep").replace("/*/", "/song/").replace("*", "1")
        for number in range(2 if package.stems else 1):
            song = root / name.replace("1.ogg", f"{number + 1}.ogg")
            song.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clips / ("waltz.ogg" if number == 0 else "hymn.ogg"), song)
    return tmp_path / "cache"


def test_recordings_come_with_licence_and_source(unpacked: Path, tmp_path: Path) -> None:
    lines = recordings.fetch(tmp_path / "corpus/recorded", unpacked)
    assert {line["licence"] for line in lines} == {"CC BY-SA 3.0"}
    assert len(lines) == len(recordings.packages())
    for line in lines:
        assert (tmp_path / "corpus" / str(line["path"])).is_file()
        assert line["title"]
        assert str(line["source"]).startswith("Debian package ")
    stems = next(line for line in lines if "muldjord" in str(line["path"]))
    samples, _ = soundfile.read(tmp_path / "corpus" / str(stems["path"]))
    one, _ = soundfile.read(
        unpacked / "fretsonfire-songs-muldjord/usr/share/games/fretsonfire/data/songs/muldjord/song/1.ogg"
    )
    assert np.abs(samples).max() < 1
    assert not np.allclose(samples[: len(one)], one, atol=1e-2)
    assert lines == recordings.fetch(tmp_path / "corpus/recorded", unpacked)


def test_a_package_that_changed_its_licence_is_refused(unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "zaz-data/usr/share/doc/zaz-data/copyright").write_text("All rights reserved.")
    with pytest.raises(InputError, match=r"zaz-data/copyright no longer says"):
        recordings.fetch(tmp_path / "recorded", unpacked)


def command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_packages_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path / "bin", "apt-get", "echo x >> ../../calls; : > $2_1.0_all.deb")
    command(tmp_path / "bin", "dpkg", "mkdir -p $3/usr; echo music > $3/usr/file")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    for _ in range(2):
        assert debian.file("thing", "usr/file", tmp_path / "cache").read_text() == "music\n"
    assert (tmp_path / "calls").read_text() == "x\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing"]
    with pytest.raises(InputError, match="holds no usr/other"):
        debian.file("thing", "usr/other", tmp_path / "cache")


@pytest.mark.parametrize(
    ("script", "says"), [("echo 'E: no such' >&2; exit 100", "E: no such"), ("exit 0", "no reason")]
)
def test_what_cannot_be_downloaded_is_named(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path / "bin", "apt-get", script)
    command(tmp_path / "bin", "dpkg", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(InputError, match=f"thing cannot be downloaded .{says}"):
        debian.package("thing", tmp_path / "cache")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="'apt-get' is not on this machine"):
        debian.package("thing", tmp_path / "cache")
