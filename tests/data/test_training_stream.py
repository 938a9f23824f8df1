from __future__ import annotations

import gc
import itertools
import pickle
from collections import Counter
from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_n2m.data import training_stream
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.data.training_stream import FixedClips, TrainingStream
from lightning_n2m.errors import InputError
from tests.data.conftest import name_only, refused

SECONDS = 0.05
DECODER = ClipDecoder(24_000, SECONDS, None)


@pytest.fixture
def run(monkeypatch):
    """The first batches of one rank, in the order of a loader with some number of workers."""

    def run(files, batches, batch_size=4, workers=0, decoder=name_only, **options):
        current = SimpleNamespace(id=0)
        monkeypatch.setattr(training_stream, "get_worker_info", lambda: current if workers else None)
        stream = TrainingStream(files, decoder, batch_size, workers=workers, **options)
        iterators = [iter(stream) for _ in range(max(1, workers))]
        dealt = []
        for number in range(batches):
            current.id = number % max(1, workers)
            dealt.append(list(itertools.islice(iterators[current.id], batch_size)))
        return dealt

    return run


def keys(batches):
    return [example["key"] for batch in batches for example in batch]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_the_order_is_the_same_every_time(build, run, workers):
    files = find_shards([build([5, 3, 4, 6])], "train")
    first = run(files, 12, workers=workers)
    assert first == run(files, 12, workers=workers)
    assert keys(first) != keys(run(files, 12, workers=workers, seed=1))


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"streams": 2}, {"world_size": 2, "rank": 1, "streams": 2}])
def test_resuming_gives_exactly_the_remaining_batches(build, run, workers, options):
    files = find_shards([build([5, 3, 4, 6, 2, 5, 1, 3])], "train")
    uninterrupted = run(files, 14, workers=workers, **options)
    for start in range(9):
        resumed = run(files, 14 - start, workers=workers, start=start, **options)
        assert resumed == uninterrupted[start:], start


@pytest.mark.parametrize("workers", [0, 2])
def test_ranks_share_an_epoch_without_overlap(build, run, workers):
    files = find_shards([build([4] * 8)], "train")
    ranks = [keys(run(files, 4, 4, workers, rank=rank, world_size=2)) for rank in range(2)]
    assert len(set(ranks[0])) == len(set(ranks[1])) == 16
    assert set(ranks[0]) | set(ranks[1]) == {raw.clip.key for file in files for raw in read_shard(file)}


@pytest.mark.parametrize("workers", [0, 2])
def test_with_fixed_streams_the_global_batches_do_not_depend_on_the_number_of_ranks(build, run, workers):
    files = find_shards([build([5, 3, 4, 6, 2, 5, 1, 3, 2, 2])], "train")

    def global_batches(world):
        ranks = [
            run(files, 10, 8 // world, workers, rank=rank, world_size=world, streams=4)
            for rank in range(world)
        ]
        return [
            Counter((e["key"], e["number"]) for batch in both for e in batch)
            for both in zip(*ranks, strict=True)
        ]

    one = global_batches(1)
    assert one == global_batches(2)
    assert one == global_batches(4)


@pytest.mark.parametrize(
    ("world", "workers", "streams"), [(1, 0, None), (1, 3, None), (2, 2, None), (2, 1, 4)]
)
def test_no_sample_number_is_given_twice_or_left_out(build, run, world, workers, streams):
    files = find_shards([build([3] * 9)], "train")
    # Every worker has had the same number of batches, so that numbers are complete.
    batches = 2 * max(1, workers)
    drawn = [
        example["number"]
        for rank in range(world)
        for batch in run(files, batches, 4, workers, rank=rank, world_size=world, streams=streams)
        for example in batch
    ]
    assert sorted(drawn) == list(range(world * batches * 4))


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"workers": 2, "world_size": 2}, ("3 training shards", "4 streams", "data.num_workers to 1")),
        ({"world_size": 4}, ("3 training shards", "4 streams", "more, smaller shards")),
        ({"streams": 3, "world_size": 2}, ("data.streams is 3", "2 ranks")),
        ({"streams": 3}, ("data.batch_size 4", "3 streams")),
    ],
)
def test_what_would_starve_a_stream_is_refused_at_once(build, options, parts):
    files = find_shards([build([1, 1, 1])], "train")
    message = refused(lambda: TrainingStream(files, name_only, 4, **options), *parts)
    assert "num_workers to 0" not in message


# Loaders -----------------------------------------------------------------------------------------


def loader(stream, workers):
    return DataLoader(
        stream,
        batch_size=stream.batch_size,
        num_workers=workers,
        multiprocessing_context="forkserver" if workers else None,
    )


def same(one, other):
    return torch.equal(one["audio"], other["audio"]) and one["key"] == other["key"]


def test_a_pickled_stream_gives_the_same_examples(build):
    stream = TrainingStream(find_shards([build([3, 4])], "train"), DECODER, 2)
    copy = pickle.loads(pickle.dumps(stream))
    for one, other in itertools.islice(zip(stream, copy, strict=True), 10):
        assert torch.equal(one["audio"], other["audio"])
        assert one["key"] == other["key"]


def test_real_loader_workers_deal_as_simulated_and_resume_where_they_stopped(build, run):
    files = find_shards([build([5, 3, 4, 6])], "train")
    expected = run(files, 7, workers=2, decoder=DECODER)
    batches = list(itertools.islice(loader(TrainingStream(files, DECODER, 4, workers=2), 2), 5))
    batches += itertools.islice(loader(TrainingStream(files, DECODER, 4, workers=2, start=5), 2), 2)
    for batch, examples in zip(batches, expected, strict=True):
        assert batch["audio"].shape == (4, 1, 1200)
        assert torch.equal(batch["audio"], torch.stack([example["audio"] for example in examples]))
        assert batch["key"] == [example["key"] for example in examples]
        assert batch["number"].tolist() == [example["number"] for example in examples]


def test_an_error_in_a_loader_worker_arrives_as_the_users_own(shard, monkeypatch):
    # torch waits so long for a worker that has failed.
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.1)
    shard.path.write_bytes(shard.path.read_bytes()[:3000])
    batches = iter(loader(TrainingStream([shard], DECODER, 2, workers=1), 1))
    with pytest.raises(InputError, match=r"audio-000000\.tar is damaged"):
        next(batches)
    del batches
    gc.collect()


# Fixed clips -------------------------------------------------------------------------------------


def test_validation_sees_the_same_clips_every_time(build):
    files = find_shards([build([3, 4, 5], split="validation")], "validation")
    fixed = FixedClips(files, name_only, 6)
    assert [e["number"] for e in fixed] == list(range(6))
    assert list(fixed) == list(fixed)
    # 12 clips, every second one: all shards are read.
    every = [raw.clip.key for file in files for raw in read_shard(file)]
    assert [e["key"] for e in fixed] == every[::2]


@pytest.mark.parametrize(
    ("wanted", "world", "each"), [(6, 2, 3), (7, 2, 3), (100, 5, 2), (12, 3, 4), (5, 5, 1)]
)
def test_validation_clips_are_dealt_evenly_over_the_ranks(build, wanted, world, each):
    files = find_shards([build([3, 4, 5])], "train")
    ranks = [list(FixedClips(files, name_only, wanted, rank, world)) for rank in range(world)]
    assert [len(rank) for rank in ranks] == [each] * world
    numbers = sorted(e["number"] for rank in ranks for e in rank)
    assert numbers == list(range(each * world))
    assert len({e["key"] for rank in ranks for e in rank}) == each * world


def test_shards_without_a_chosen_clip_are_not_opened(build):
    files = find_shards([build([4, 2, 6])], "train")
    files[1].path.unlink()
    assert [e["key"] for e in FixedClips(files, name_only, 2)] == ["shards00x00-00", "shards02x00-00"]


@pytest.mark.parametrize(("wanted", "world"), [(2, 3), (16, 5), (16, 64), (1, 512)])
def test_each_rank_validates_on_the_same_number_of_clips_even_if_there_are_fewer(build, wanted, world):
    files = find_shards([build([2, 1])], "train")
    ranks = [list(FixedClips(files, name_only, wanted, rank, world)) for rank in range(world)]
    assert {len(rank) for rank in ranks} == {1}
    assert sorted(example["number"] for rank in ranks for example in rank) == list(range(world))
    counts = Counter(example["key"] for rank in ranks for example in rank)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert len(counts) == min(3, world)


def test_a_rank_reads_only_the_shards_of_its_own_validation_clips(build, monkeypatch):
    files = find_shards([build([2] * 12)], "train")
    opened = []
    monkeypatch.setattr(
        "lightning_n2m.data.training_stream.read_shard", lambda file: opened.append(file) or read_shard(file)
    )
    for rank in range(6):
        list(FixedClips(files, name_only, 12, rank, 6))
    assert len(opened) == 12
