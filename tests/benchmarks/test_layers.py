from __future__ import annotations

import pytest
import torch

from benchmarks.layers import KINDS, Contender, build, times


@pytest.mark.parametrize("name", [*KINDS, "all"])
def test_pytorchs_own_layers_give_the_same_outputs_and_gradients(name: str) -> None:
    kinds = KINDS.values() if name == "all" else [KINDS[name]]
    network, inputs = build("starter/super_resolution", clips=2, steps=256)
    results = []
    for chosen in ((), kinds):
        contender = Contender(network, inputs, chosen, bf16=False)
        output = contender.output()
        output.square().mean().backward()
        results.append((output, [parameter.grad for parameter in contender.network.parameters()]))
    (output, gradients), (expected, expected_gradients) = results
    torch.testing.assert_close(output, expected, atol=1e-4, rtol=1e-3)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient, atol=1e-4, rtol=1e-2)


def test_contenders_are_timed_in_both_passes() -> None:
    network, inputs = build("starter/super_resolution", clips=1, steps=256)
    ((forward, both),) = times([Contender(network, inputs, (), bf16=False)], rounds=1)
    assert 0 < forward < both
