"""Labelling: the exact search of nearest captions beside FAISS's exact index, and its peak memory."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.result import Result
from data_pipeline.captions.labelling.search import nearest

CAPTIONS, CLIPS, DIMENSION, TOP = 4_000_000, 10_000, 128, 10
GIBIBYTES = 4.0  # memory limit of labelling
TURNS, _AT_A_TIME = 3, 1_000  # short turns, so that other work on the machine slows down both


def _vectors(path: Path, count: int, seed: int) -> np.ndarray:
    """Unit vectors in a file, in clusters of unequal size, like embeddings of generated captions."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).standard_normal((2_000, DIMENSION), dtype=np.float32)
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (count, DIMENSION))
    for start in range(0, count, 100_000):
        size = min(100_000, count - start)
        cluster = (len(centres) * rng.random(size) ** 2).astype(int)
        part = centres[cluster] + rng.standard_normal((size, DIMENSION), dtype=np.float32)
        vectors[start : start + size] = part / np.linalg.norm(part, axis=1, keepdims=True)
    vectors.flush()
    return vectors


def _search_all(captions: str, clips: str) -> None:
    """Search all clips in its own process; print clips per second and peak memory."""
    left, right = np.load(clips, mmap_mode="r"), np.load(captions, mmap_mode="r")
    began = time.perf_counter()
    nearest(np.array(left), [right], TOP)
    rate = len(left) / (time.perf_counter() - began)
    # Includes pages of the mapped file, which the system could reclaim. ru_maxrss is not used: a process
    # inherits it from its parent.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)
    print(rate, int(peak.split()[1]) * 1024)


def measure() -> Iterable[Result]:
    yield from compare(CAPTIONS, CLIPS)


def compare(captions: int, clips: int) -> Iterable[Result]:
    """Speed in turns with FAISS, and peak memory for all clips without FAISS."""
    import faiss

    with tempfile.TemporaryDirectory() as folder:
        texts = _vectors(Path(folder, "captions.npy"), captions, 1)
        audio = _vectors(Path(folder, "clips.npy"), clips, 2)
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(texts)
        turns = []
        for start in range(0, min(clips, TURNS * _AT_A_TIME), _AT_A_TIME):
            part = np.array(audio[start : start + _AT_A_TIME])
            began = time.perf_counter()
            result = nearest(part, [texts], TOP)
            middle = time.perf_counter()
            _, expected = index.search(part, TOP)
            turns.append((len(part), middle - began, time.perf_counter() - middle))
            # FAISS computes in float32, where rounding swaps a few captions in a million.
            assert (result.captions == expected).mean() > 0.999, "both searches are exact"
        del index
        command = [
            sys.executable,
            "-m",
            "benchmarks.label",
            *(f"{folder}/{n}.npy" for n in ("captions", "clips")),
        ]
        run = subprocess.run(command, capture_output=True, text=True, check=True)
    rate, peak = map(float, run.stdout.split())
    what = f"{captions:,} captions of {DIMENSION} dimensions, the nearest {TOP}"
    search_rate, faiss_rate = (
        float(np.median([count / seconds[which] for count, *seconds in turns])) for which in (0, 1)
    )
    peer = f"faiss {faiss.__version__} IndexFlatIP"
    yield Result(f"label: speed, {what}", search_rate, faiss_rate, peer, "clips/s", 1.0)
    memory = peak / 2**30
    yield Result(f"label: memory, {clips:,} clips, {what}", memory, GIBIBYTES, "4 GiB", "GiB", 1.0, False)
    print(
        f"label: {clips:,} clips without FAISS, {rate:.0f} a second, peak {peak / 2**30:.2f} GiB",
        file=sys.stderr,
    )


if __name__ == "__main__":
    _search_all(*sys.argv[1:])
