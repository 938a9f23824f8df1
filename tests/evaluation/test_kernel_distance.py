from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.evaluation.kernel_distance import KernelAudioDistance, median_distance


def draw(clips, seed, shift=0.0, patches=3, d=4):
    """Clips whose patches depend on each other, as those of music do."""
    generator = torch.Generator().manual_seed(seed)
    common = torch.randn(clips, 1, d, generator=generator)
    return shift + common + 0.5 * torch.randn(clips, patches, d, generator=generator)


def slow_distance(x, y, paired=False):
    """The definition, pair by pair: no pairs of one clip within a set, or between copies."""
    flat = y.flatten(0, 1)
    gaps = sorted(math.dist(a, b) for i, a in enumerate(flat.tolist()) for b in flat.tolist()[i + 1 :])
    bandwidth = gaps[(len(gaps) - 1) // 2]

    def mean(one, other, same_clip):
        values = [
            math.exp(-(math.dist(a, b) ** 2) / (2 * bandwidth**2))
            for i, clip in enumerate(one.tolist())
            for j, other_clip in enumerate(other.tolist())
            if same_clip or i != j
            for a in clip
            for b in other_clip
        ]
        return sum(values) / len(values)

    return 100 * (mean(x, x, False) + mean(y, y, False) - 2 * mean(x, y, not paired))


def test_it_equals_the_definition_computed_pair_by_pair():
    for shift, offset in ((0.0, 0.0), (0.7, 0.0), (0.7, 300.0)):  # a common offset changes nothing
        x, y = draw(7, 1, shift + offset), draw(11, 2, offset)
        assert KernelAudioDistance(y)(x) == pytest.approx(slow_distance(x, y), rel=2e-3, abs=2e-3)


def test_copies_are_compared_without_the_pairs_of_a_copy_and_its_original():
    x = draw(9, 1)
    distance, copy = KernelAudioDistance(x), x + 0.3 * draw(9, 2)
    assert distance(x, paired=True) == pytest.approx(0, abs=1e-4)
    assert distance(copy, paired=True) == pytest.approx(
        slow_distance(copy, x, paired=True), rel=2e-3, abs=2e-3
    )


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_its_expectation_does_not_depend_on_the_number_of_clips():
    reference = draw(400, 0)
    distance = KernelAudioDistance(reference)
    kernel, frechet = {}, {}
    for clips in (32, 48, 128):
        draws = [draw(clips, 1000 * clips + seed, 0.5) for seed in range(120)]
        kernel[clips] = torch.tensor([distance(x) for x in draws])
        frechet[clips] = sum(frechet_distance(x, reference, draws=0).value for x in draws[:60]) / 60
    means = {clips: float(values.mean()) for clips, values in kernel.items()}
    errors = {clips: float(values.std()) / len(values) ** 0.5 for clips, values in kernel.items()}
    for clips in (32, 48):
        assert abs(means[clips] - means[128]) < 3 * math.hypot(errors[clips], errors[128])
    # The Fréchet distance of the same clips is biased upwards for few clips.
    assert frechet[32] > 1.03 * frechet[128]


def test_equal_distributions_have_distance_zero_on_average():
    distance = KernelAudioDistance(draw(300, 0))
    values = torch.tensor([distance(draw(40, seed)) for seed in range(1, 60)])
    assert abs(float(values.mean())) < 4 * float(values.std()) / len(values) ** 0.5
    assert float(distance(draw(40, 1, 1.0))) > 10 * float(values.std())


def test_the_bandwidth_is_the_median_distance():
    points = torch.tensor([[0.0], [1.0], [3.0]])
    assert median_distance(points) == 2.0
    # Of many patches, evenly spaced ones are enough.
    many = torch.randn(9000, 3, generator=torch.Generator().manual_seed(0))
    assert median_distance(many) == pytest.approx(median_distance(many[:2000]), rel=0.05)
