from __future__ import annotations

import os

import pytest
import torch

from data_pipeline.__main__ import main as data_pipeline
from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.evaluation.memorisation import RepetitionCheck
from lightning_n2m.evaluation.reference_embeddings import embed_shards, middle
from tests.paths import CLIPS


class Mean:
    """An embedder that is quick: mean square and largest sample of each second."""

    name, sample_rate, dimension = "mean", 16_000, 2

    def embed(self, audio, sample_rate):
        seconds = audio[..., : audio.shape[-1] // sample_rate * sample_rate].unflatten(-1, (-1, sample_rate))
        return torch.stack([seconds.square().mean(dim=-1), seconds.amax(dim=-1)], dim=-1)[:, 0]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    for name in ("tango", "techno", "folk"):
        (folder / "music").mkdir(exist_ok=True)
        os.link(CLIPS / f"{name}.ogg", folder / "music" / f"{name}.ogg")
    listed = ["--source", str(folder / "music"), "--metadata", str(CLIPS / "metadata.jsonl")]
    assert data_pipeline(["manifest", *listed, "--output", str(folder / "m.jsonl")]) == 0
    cut = ["--tracks_per_shard", "1", "--validation", "0", "--test", "0", "--workers", "1"]
    assert (
        data_pipeline(["shard", "--manifest", str(folder / "m.jsonl"), "--output", str(folder / "s"), *cut])
        == 0
    )
    return folder / "s"


def test_a_shard_is_heard_once(shards, tmp_path):
    files = find_shards([shards], "train")
    done = []
    first = embed_shards(files[:2], [Mean()], tmp_path, lambda *x: done.append(x))
    assert done == [(1, 2), (2, 2)]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    every = embed_shards(files, [Mean()], tmp_path)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert torch.equal(every.patches[:2], first.patches)
    assert every.patches.shape == (3, 10, 200)
    assert every.embedded["mean"].shape == (3, 5, 2)
    assert [clip.truth["genre"] for clip in every.take([2, 0]).clips] == [
        every.clips[2].truth["genre"], every.clips[0].truth["genre"]
    ]  # fmt: skip
    assert len(every.where(lambda clip: clip.truth["genre"] == "tango").clips) == 1

    # Shards that were moved are the same shards.
    moved = tmp_path / "moved"
    shards.rename(moved)
    try:
        again = embed_shards(find_shards([moved], "train"), [Mean()], tmp_path)
        assert torch.equal(again.patches, every.patches)
        audio = RepetitionCheck(again, find_shards([moved], "train")).fetch([1])[1]
        assert audio.shape == (96_000,)
    finally:
        moved.rename(shards)


@pytest.mark.parametrize("bf16", [False, True])
def test_two_processes_hear_what_one_hears(shards, tmp_path, bf16):
    files = find_shards([shards], "train")
    done = []
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        one, two = (
            embed_shards(files, [Mean()], tmp_path / str(n), lambda *x: done.append(x), workers=n)
            for n in (1, 2)
        )
    assert done == [(1, 3), (2, 3), (3, 3)] * 2
    assert one.clips == two.clips and one.shards == two.shards
    torch.testing.assert_close(one.patches, two.patches, atol=2e-3, rtol=2e-3)
    assert torch.equal(one.embedded["mean"], two.embedded["mean"])


def test_the_middle_is_in_the_middle():
    audio = torch.arange(100.0)[None]
    assert middle(audio, 10, 4.0).tolist() == [list(range(30, 70))]
    assert torch.equal(middle(audio, 10, 60.0), audio)
