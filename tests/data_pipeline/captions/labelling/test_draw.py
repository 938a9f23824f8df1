"""The draw of captions follows its probabilities."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest

from data_pipeline.captions.labelling.draw import draw

COUNTS = [1, 2, 5, 40, 3]


TEXTS = [f"caption {number}" for number in range(len(COUNTS))]


def probabilities(counts: list[int], keep: int) -> dict[tuple[int, ...], float]:
    """Drawing one after the other, each time with probability inverse to the count, written out."""
    found = {}
    for order in itertools.permutations(range(len(counts)), keep):
        left, chance = list(range(len(counts))), 1.0
        for position in order:
            chance *= (1 / counts[position]) / sum(1 / counts[other] for other in left)
            left.remove(position)
        found[order] = chance
    return found


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_its_frequencies_match_the_inverse_counts(keep: int) -> None:
    seeds = 20_000
    drawn = Counter(tuple(draw(seed, "clip", TEXTS, COUNTS, keep)) for seed in range(seeds))
    expected = probabilities(COUNTS, keep)
    assert set(drawn) <= set(expected)
    common = [order for order, chance in expected.items() if seeds * chance > 5]
    rest = seeds - sum(drawn[order] for order in common)
    observed = [*(drawn[order] for order in common), rest]
    awaited = [seeds * expected[order] for order in common]
    awaited.append(seeds - sum(awaited))
    pairs = [(seen, due) for seen, due in zip(observed, awaited, strict=True) if due > 1e-6]
    chi_square = sum((seen - due) ** 2 / due for seen, due in pairs)
    freedom = len(pairs) - 1
    assert chi_square < freedom + 4 * math.sqrt(2 * freedom), "about one in ten thousand would exceed this"


def test_clips_and_seeds_draw_independently() -> None:
    both = Counter(
        (
            draw(0, f"clip {number}", TEXTS, COUNTS, 1)[0] == 0,
            draw(1, f"clip {number}", TEXTS, COUNTS, 1)[0] == 0,
        )
        for number in range(4000)
    )
    chance = probabilities(COUNTS, 1)[(0,)]
    assert both[True, True] / 4000 == pytest.approx(chance**2, abs=0.03)


def test_the_order_of_the_candidates_does_not_matter() -> None:
    first = draw(3, "clip", TEXTS, COUNTS, 3)
    turned = draw(3, "clip", TEXTS[::-1], COUNTS[::-1], 3)
    assert [TEXTS[i] for i in first] == [TEXTS[::-1][i] for i in turned]
    assert math.isclose(sum(probabilities(COUNTS, 3).values()), 1.0)
