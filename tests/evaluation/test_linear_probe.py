from __future__ import annotations

import torch

from lightning_n2m.evaluation.linear_probe import fit_probe


def world(n, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 12, generator=generator)
    return x, [["low"] * (row[0] < -1) + ["high"] * (row[1] > 0) for row in x.tolist()]


def test_a_probe_finds_what_is_linear_and_generalises():
    probe = fit_probe(*world(600, 0))
    assert probe.labels == ("high", "low")
    x, truth = world(300, 1)
    for label in probe.labels:
        right = probe.predict(x, label) == torch.tensor([label in labels for labels in truth])
        assert right.double().mean() > 0.93


def test_a_rare_label_is_not_lost_in_its_absence():
    x, truth = world(600, 0)
    # One in six is "low"; most of them must be found, although "no" is right more often.
    probe = fit_probe(x + torch.randn(600, 12, generator=torch.Generator().manual_seed(5)), truth)
    low = torch.tensor(["low" in labels for labels in truth])
    assert probe.predict(x, "low")[low].double().mean() > 0.7


def test_exclusive_labels_are_ranked():
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(4, 8) * 6
    kinds = torch.randint(4, (400,), generator=generator)
    x = centres[kinds] + torch.randn(400, 8, generator=generator)
    probe = fit_probe(x, [[f"kind {int(k)}"] for k in kinds], exclusive=True)
    top = probe.top(centres, 2)
    assert [row[0] for row in top] == [f"kind {i}" for i in range(4)]
    assert all(len(set(row)) == 2 for row in top)


def test_the_fit_is_the_same_each_time():
    one, other = (fit_probe(*world(200, 0)) for _ in range(2))
    assert torch.equal(one.weight, other.weight)
