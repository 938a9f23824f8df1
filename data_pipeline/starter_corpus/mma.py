"""Accompaniment by MMA (Musical MIDI Accompaniment, a program of Debian, GPL-2+)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.events import Event, load
from data_pipeline.starter_corpus.melody import Bar, Metre


class Accompanist:
    """MMA, from the system or from the cache.

    Args:
        cache: Folder that keeps unpacked Debian packages.

    Raises:
        InputError: if MMA cannot be fetched.
    """

    def __init__(self, cache: Path) -> None:
        self.program = debian.file("mma", "usr/bin/mma", cache)
        self.home = self.program.parents[1] / "share" / "mma"

    def play(
        self, groove: str, bars: list[Bar], metre: Metre, tempo: int, seed: int, extra: str = ""
    ) -> list[Event]:
        """Play a groove over chords.

        Args:
            groove: ``file:groove`` of MMA's library.
            bars: Chords of each bar.
            metre: Time signature; its beats must be the groove's.
            tempo: Beats a minute.
            seed: Seed of MMA's small variations.
            extra: MMA lines that add tracks to the groove.

        Raises:
            RuntimeError: if MMA refuses the score.
        """
        lines = [f"RndSeed {seed}", f"Tempo {tempo}", f"Groove {groove}", extra]
        for number, chords in enumerate(bars, start=1):
            beats = ["/"] * metre.beats
            for index, chord in enumerate(chords):
                beats[index * metre.beats // len(chords)] = chord.name
            lines.append(f"{number} {' '.join(beats)}")
        with tempfile.TemporaryDirectory() as folder:
            score, result = Path(folder) / "score.mma", Path(folder) / "score.mid"
            score.write_text("\n".join(lines) + "\n")
            # HOME: MMA would read the user's ~/.mmarc, and pieces would differ between machines.
            run = subprocess.run(
                [sys.executable, str(self.program), str(score), "-f", str(result)],
                env={**os.environ, "MMA_HOME": str(self.home), "HOME": folder},
                capture_output=True,
                text=True,
                cwd=folder,
            )
            if run.returncode or not result.is_file():
                raise RuntimeError(
                    f"MMA cannot play {groove}: {' '.join((run.stdout + run.stderr).split())[-400:]}"
                )
            return load(result)
