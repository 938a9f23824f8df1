"""Several sources are mixed by weight."""

from __future__ import annotations

import itertools
from collections import Counter

from lightning_n2m.data.mixture import Mixture
from lightning_n2m.data.shard_reader import read_shard
from lightning_n2m.data.shard_sources import find_sources
from lightning_n2m.data.stream_order import StreamOrder
from lightning_n2m.data.training_stream import TrainingStream
from tests.data.conftest import name_only


def drawn(sources, count, start=0, **options):
    stream = TrainingStream(sources, name_only, 1, start=start, **options)
    return [example["key"] for example in itertools.islice(stream, count)]


def shares(keys):
    return Counter(key.split("0")[0] for key in keys)


def test_shares_are_exact_at_every_moment(build):
    weights = {str(build([9] * 3, "a")): 3, str(build([5] * 3, "b")): 1, str(build([2] * 3, "c")): 0.5}
    keys = drawn(find_sources(weights, "train"), 640)
    for length in range(64, 641, 64):
        found = shares(keys[:length])
        for name, weight in (("a", 3), ("b", 1), ("c", 0.5)):
            assert abs(found[name] - length * weight / 4.5) < 1
    dealt = [key[0] for key in keys]
    assert dealt[:64] != dealt[64:128], "within a block the order is drawn"


def test_a_mixture_is_a_pure_function_of_the_seed_and_resumes_anywhere(build):
    weights = {str(build([7, 3, 5], "a")): 0.7, str(build([4, 2, 6], "b")): 0.3}
    sources = find_sources(weights, "train")
    whole = drawn(sources, 300)
    assert whole == drawn(sources, 300)
    assert whole != drawn(sources, 300, seed=1)
    for start in (1, 5, 63, 64, 65, 100, 199, 256):
        assert drawn(sources, 300 - start, start) == whole[start:], start


def test_each_source_gives_all_its_clips_before_any_is_repeated(build):
    weights = {str(build([7, 3], "a")): 2, str(build([4, 2], "b")): 1}
    keys = drawn(find_sources(weights, "train"), 120)
    for name, clips in (("a", 10), ("b", 6)):
        own = [key for key in keys if key.startswith(name)]
        assert len(set(own[:clips])) == clips
        assert Counter(own[: 3 * clips // clips * clips]).most_common(1)[0][1] == 3


def test_ranks_of_a_mixture_share_an_epoch_without_overlap(build):
    weights = {str(build([4] * 4, "a")): 1, str(build([4] * 4, "b")): 1}
    sources = find_sources(weights, "train")
    ranks = [drawn(sources, 16, rank=rank, world_size=2) for rank in range(2)]
    # In 64 clips each source has 32; the first 16 of a rank may hold some of one source more than 8.
    assert not set(ranks[0]) & set(ranks[1])


def test_skipped_clips_of_a_mixture_are_not_read(build, monkeypatch):
    files = [find_sources(str(build([4] * 4, name)), "train")[0].files for name in "ab"]
    opened = []
    monkeypatch.setattr(
        "lightning_n2m.data.stream_order.read_shard", lambda f: opened.append(f) or read_shard(f)
    )
    orders = tuple(StreamOrder(own, 1, 0, 0, 1) for own in files)
    list(itertools.islice(Mixture(orders, (1.0, 1.0), 0, 0).clips(1000), 2))
    assert len(opened) <= 2
