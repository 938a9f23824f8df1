"""From a folder of music to shards: speed and peak memory beside ffmpeg.

The data pipeline imports PyTorch, which takes most of its memory (660 MB, ffmpeg: 46) and some seconds of
processor time before the first track.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.music import Cost, corpus, pipeline, run
from benchmarks.peers import ffmpeg
from benchmarks.result import Result
from data_pipeline.scan.track import Track, read_manifest

_SECONDS = 30.0
_TRACKS = 12  # enough that start-up time is small
_ROUNDS = 3


def measure() -> Iterable[Result]:
    with tempfile.TemporaryDirectory() as folder:
        yield from _beside_ffmpeg(Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        yield from _growth(Path(folder))


def _beside_ffmpeg(folder: Path) -> Iterable[Result]:
    source = corpus() / "music/recorded"
    program = ffmpeg()
    music = folder / "music"
    music.mkdir()
    files = [path for path in sorted(source.rglob("*")) if path.suffix in (".ogg", ".flac", ".mp3")]
    for number, path in enumerate(files[:: max(1, len(files) // _TRACKS)]):
        # ffmpeg cannot read some files that libsndfile reads.
        if not subprocess.run([program, "-v", "quiet", "-i", path, "-t", "1", "-f", "null", "-"]).returncode:
            shutil.copy(path, music / f"{number:03d}{path.suffix}")
    manifest = folder / "manifest.jsonl"
    listing = pipeline("manifest", "--source", music, "--output", manifest, "--workers", "1")
    tracks = [track for track in read_manifest(manifest) if track.seconds >= _SECONDS]
    hours = sum(track.seconds for track in tracks) / 3600
    shard_costs: list[Cost] = []
    ffmpeg_costs: list[Cost] = []
    for number in range(_ROUNDS):
        # All of the music, not six clips per track: ffmpeg cuts all of it too.
        shards, segments = folder / f"shards{number}", folder / f"segments{number}"
        shard_costs.append(
            pipeline(
                "shard",
                "--manifest",
                manifest,
                "--output",
                shards,
                "--workers",
                "1",
                "--clips-per-track",
                "999",
            )
        )
        ffmpeg_costs.append(_ffmpeg(program, tracks, segments))
        shutil.rmtree(shards)
        shutil.rmtree(segments)
    speed = [
        60 * hours / statistics.median(cost.seconds for cost in costs)
        for costs in (shard_costs, ffmpeg_costs)
    ]
    version = _version(program)
    yield Result(
        "shard: recorded music to 24 kHz clips, one process", *speed, version, "audio-hours/min", target=1.0
    )
    yield Result(
        "manifest: all of the recorded music decoded, one process",
        60 * hours / listing.seconds,
        speed[1],
        f"{version}, which also encodes",
        "audio-hours/min",
    )
    memory = [statistics.median(cost.megabytes for cost in costs) for costs in (shard_costs, ffmpeg_costs)]
    yield Result("shard: peak memory on recorded music", *memory, version, "MB", higher_is_better=False)


def _ffmpeg(program: str, tracks: list[Track], folder: Path) -> Cost:
    """Cut all tracks into segments of the same length and format, file by file."""
    folder.mkdir()
    costs = []
    for track in tracks:
        command = [
            program,
            "-nostdin",
            "-v",
            "error",
            "-threads",
            "1",
            "-i",
            track.path,
            "-ac",
            "1",
            "-ar",
            "24000",
        ]
        segment = ["-sample_fmt", "s16", "-c:a", "flac", "-f", "segment", "-segment_time", f"{_SECONDS:g}"]
        costs.append(run([*command, *segment, folder / f"{track.track_id}-%03d.flac"]))
    return Cost(sum(cost.seconds for cost in costs), max(cost.megabytes for cost in costs))


def _version(program: str) -> str:
    output = subprocess.run([program, "-version"], capture_output=True, text=True, check=True).stdout
    return "ffmpeg " + output.split()[2].lstrip("n").partition("-")[0]


def _growth(folder: Path) -> Iterable[Result]:
    """Seconds per track and peak memory for a hundred, a thousand and ten thousand short tracks."""
    draw = np.random.default_rng(0)
    sizes = (100, 1000, 10_000)
    costs: dict[str, dict[int, Cost]] = {"manifest": {}, "shard": {}}
    for size in sizes:
        music = folder / f"music{size}"
        for number in range(size):
            subfolder = music / f"{number // 500:03d}"
            subfolder.mkdir(parents=True, exist_ok=True)
            soundfile.write(subfolder / f"{number:05d}.wav", 0.1 * draw.normal(size=9600), 8000)
        manifest = folder / f"{size}.jsonl"
        costs["manifest"][size] = pipeline(
            "manifest", "--source", music, "--output", manifest, "--workers", "1", "--minimum-seconds", "0.1"
        )
        costs["shard"][size] = pipeline(
            "shard", "--manifest", manifest, "--output", folder / f"shards{size}", "--workers", "1",
            "--clip-seconds", "1",
        )  # fmt: skip
        shutil.rmtree(music)
    small, middle, large = sizes
    for command, cost in costs.items():
        yield Result(
            f"{command}: peak memory at 10,000 tracks",
            cost[large].megabytes,
            cost[small].megabytes,
            "itself at 100 tracks",
            "MB",
            target=0.9,
            higher_is_better=False,
        )
        # The run with 100 tracks is subtracted, as the cost of starting the process.
        yield Result(
            f"{command}: seconds per 1,000 tracks of 10,000",
            1000 * (cost[large].seconds - cost[small].seconds) / (large - small),
            1000 * (cost[middle].seconds - cost[small].seconds) / (middle - small),
            "itself at 1,000 tracks",
            "s",
            target=0.8,
            higher_is_better=False,
        )
