from __future__ import annotations

import pytest
import torch

from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.memorisation import MemorisationCheck
from lightning_n2m.evaluation.reference_embeddings import (
    EmbeddingSettings,
    embed_shards,
    excerpt,
    middle,
    stack_padded,
)


class Mean:
    """A fast embedder: mean square and largest sample of each second."""

    name, sample_rate, dimension = "mean", 16_000, 2

    def embed(self, audio, sample_rate):
        seconds = audio[..., : audio.shape[-1] // sample_rate * sample_rate].unflatten(-1, (-1, sample_rate))
        return torch.stack([seconds.square().mean(dim=-1), seconds.amax(dim=-1)], dim=-1)[:, 0]


SETTINGS = EmbeddingSettings((Mean(),), 5.0)


def test_a_shard_is_embedded_once(shards, tmp_path):
    files = find_shards([shards], "train")
    done = []
    first = embed_shards(files[:2], SETTINGS, tmp_path, lambda *x: done.append(x))
    assert done == [(1, 2), (2, 2)]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    everything = embed_shards(files, SETTINGS, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert torch.equal(everything.patches[:2], first.patches)
    assert everything.patches.shape == (3, 10, 200)
    assert everything.embedded["mean"].shape == (3, 5, 2)
    assert [clip.truth["genre"] for clip in everything.take([2, 0]).clips] == [
        everything.clips[2].truth["genre"], everything.clips[0].truth["genre"]
    ]  # fmt: skip
    assert len(everything.where(lambda clip: clip.truth["genre"] == "tango").clips) == 1

    # Shards that were moved are the same shards.
    moved = tmp_path / "moved"
    shards.rename(moved)
    try:
        again = embed_shards(find_shards([moved], "train"), SETTINGS, tmp_path)
        assert torch.equal(again.patches, everything.patches)
        audio = MemorisationCheck(again, find_shards([moved], "train")).fetch([1])[1]
        assert audio.shape == (96_000,)
    finally:
        moved.rename(shards)


@pytest.mark.parametrize("bf16", [False, True])
def test_two_processes_equal_one(shards, tmp_path, bf16):
    files = find_shards([shards], "train")
    done = []
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        one, two = (
            embed_shards(files, SETTINGS, tmp_path / str(n), lambda *x: done.append(x), workers=n)
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


def test_an_excerpt_is_padded_by_at_most_five_percent():
    audio = torch.ones(1, 97)
    assert excerpt(audio, 10, 10.0).tolist() == [[1.0] * 97 + [0.0] * 3]
    assert excerpt(audio[:, :94], 10, 10.0) is None
    assert excerpt(torch.arange(100.0)[None], 10, 4.0).tolist() == [list(range(30, 70))]


def test_a_damaged_cache_is_computed_again(shards, tmp_path, capsys):
    files = find_shards([shards], "train")
    before = embed_shards(files, SETTINGS, tmp_path)
    cut, text, empty = sorted(tmp_path.iterdir())
    cut.write_bytes(cut.read_bytes()[:-1000])
    text.write_text("hello")
    empty.write_bytes(b"")
    after = embed_shards(files, SETTINGS, tmp_path)
    assert torch.equal(after.patches, before.patches)
    assert capsys.readouterr().err.count("is damaged") == 3


def test_other_excerpts_have_another_cache(shards, tmp_path):
    files = find_shards([shards], "train")[:1]
    lengths = [
        embed_shards(files, EmbeddingSettings((Mean(),), s), tmp_path).embedded["mean"].shape[1]
        for s in (5.0, 3.0)
    ]
    assert lengths == [5, 3]


def test_clips_that_are_all_too_short_are_reported(shards, tmp_path):
    with pytest.raises(InputError, match="as long as the evaluated excerpt of 40 s"):
        embed_shards(find_shards([shards], "train"), EmbeddingSettings((Mean(),), 40.0), tmp_path)


def test_rows_of_different_length_are_padded_with_nan():
    stacked = stack_padded([torch.ones(2, 3), torch.ones(1, 3)])
    assert stacked.isnan().any(dim=2).tolist() == [[False, False], [False, True]]
