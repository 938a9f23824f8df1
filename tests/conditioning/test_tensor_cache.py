from __future__ import annotations

import torch

from lightning_n2m.conditioning.tensor_cache import TensorCache


def test_the_least_recently_used_tensors_are_dropped_when_the_bytes_exceed_the_bound():
    cache = TensorCache(max_bytes=100)
    for name in "abc":
        cache.put(name, torch.zeros(10))
    assert cache.bytes == 80
    assert [name in cache for name in "abc"] == [False, True, True]
    cache.get("b")
    cache.put("d", torch.zeros(10))
    assert [name in cache for name in "bcd"] == [True, False, True]


def test_a_tensor_that_is_replaced_counts_once():
    cache = TensorCache(max_bytes=100)
    for size in (10, 20, 5):
        cache.put("a", torch.zeros(size))
    assert (len(cache), cache.bytes) == (1, 20)


def test_a_tensor_above_the_bound_is_not_kept():
    cache = TensorCache(max_bytes=100)
    cache.put("a", torch.zeros(26))
    assert (len(cache), cache.bytes) == (0, 0)
    assert cache.get("a") is None


def test_a_view_does_not_keep_the_memory_of_its_whole_tensor():
    cache = TensorCache(max_bytes=100)
    cache.put("a", torch.zeros(1000)[:10])
    kept = cache.get("a")
    assert kept is not None
    assert kept.untyped_storage().nbytes() == 40
