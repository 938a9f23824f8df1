from __future__ import annotations

import pytest

from lightning_n2m.data.prompts import Prompts, share_of_rank


@pytest.mark.parametrize(
    ("items", "batch_size", "ranks"), [(10, 4, 1), (10, 4, 3), (2, 4, 3), (7, 1, 4), (9, 2, 2)]
)
def test_ranks_share_prompts_without_gap_or_overlap(items, batch_size, ranks):
    shares = [share_of_rank(range(items), batch_size, rank, ranks) for rank in range(ranks)]
    assert sorted(item for share in shares for batch in share for item in batch) == list(range(items))
    # Equal numbers of batches, since ranks wait for each other at the end; shares differ by one item at most.
    assert len({len(share) for share in shares}) == 1
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(batch) <= batch_size for share in shares for batch in share)


def test_one_rank_has_all_prompts_in_order(tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("one\ntwo\n\nthree\n")
    batches = list(Prompts(file=str(file), variations=2, batch_size=4).predict_dataloader())
    prompts = [[(item["prompt"], item["variation"]) for item in batch] for batch in batches]
    assert prompts == [[("one", 0), ("one", 1), ("two", 0), ("two", 1)], [("three", 0), ("three", 1)]]
