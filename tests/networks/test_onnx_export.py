"""A network in ONNX against the same network in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_n2m.errors import InputError
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.number_embedding import NUMBERS
from lightning_n2m.networks.onnx_export import to_onnx
from lightning_n2m.networks.onnx_network import OnnxNetwork, absent_inputs
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.stages.onnx_file import check_onnx

# Every input and every kind of layer.
SETTINGS: dict[str, Any] = {
    "channels": 4,
    "base_channels": 8,
    "multipliers": [1, 2, 2],
    "strides": [1, 2, 4],
    "blocks": [1, 1, 1],
    "self_attention": [False, False, True],
    "cross_attention": [False, False, True],
    "kernel_size": 3,
    "heads": 2,
    "text_channels": 6,
    "stacked_channels": 1,
    "aligned_channels": 3,
    "known_channels": 5,
    "augmentation_level": True,
    "pooled_text": True,
    "groups": 4,
    "refiner_channels": 4,
    "step_input": True,
    "guidance_input": True,
    "numbers": NUMBERS,
}
LAYOUTS = {"kernels that follow the blocks": {}, "equal phases": {
    "resample_kernel": "stride_multiple", "equal_phases": True, "strides": [2, 2, 4],
    "aligned_before_blocks": True,
}}  # fmt: skip


def build(layout: str) -> UNet1d:
    """A network none of whose weights are zero."""
    torch.manual_seed(0)
    network = UNet1d(**SETTINGS | LAYOUTS[layout])
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module", params=LAYOUTS)
def networks(request: pytest.FixtureRequest) -> tuple[UNet1d, OnnxNetwork]:
    network = build(request.param)
    content = to_onnx(network)
    check_onnx(content, Path("network.onnx"))
    with torch.device("meta"):
        layout = UNet1d(**SETTINGS | LAYOUTS[request.param])
    return network, OnnxNetwork(layout, content, "network.onnx")


def inputs(network: UNet1d, batch: int, length: int, tokens: int) -> tuple[Tensor, Tensor, Conditions]:
    rng = torch.Generator().manual_seed(length)
    fields = absent_inputs(network, batch, length, tokens)
    for name in ("text", "stacked", "aligned", "known", "beat_phase"):
        fields[name] = torch.randn(fields[name].shape, generator=rng)
    for name, largest in (("level", 1), ("step", 1), ("guidance", 6), ("tempo", 200)):
        fields[name] = torch.rand(batch, generator=rng) * largest
    fields["tonic"], fields["mode"] = torch.arange(batch) - 1, torch.arange(batch) % 3 - 1
    # The first sample has neither text nor tempo: the unconditional branch of guidance.
    fields["text_mask"] = torch.rand(batch, tokens, generator=rng) < 0.7
    fields["text_mask"][0], fields["tempo"][0] = False, torch.nan
    x = torch.randn(batch, network.channels, length, generator=rng)
    return x, torch.rand(batch, generator=rng), Conditions(**fields)


@pytest.mark.parametrize(("batch", "length", "tokens"), [(1, 64, 1), (2, 131, 9), (3, 7, 4)])
def test_all_batches_lengths_and_numbers_of_tokens_give_the_output_of_pytorch(
    networks: tuple[UNet1d, OnnxNetwork], batch: int, length: int, tokens: int
) -> None:
    network, exported = networks
    x, t, conditions = inputs(network, batch, length, tokens)
    with torch.no_grad():
        expected = network(x, t, conditions)
    assert (exported(x, t, conditions) - expected).abs().max() < 1e-5 * expected.std()


def test_missing_conditions_have_the_effect_that_they_have_in_pytorch(
    networks: tuple[UNet1d, OnnxNetwork],
) -> None:
    network, exported = networks
    x, t, conditions = inputs(network, 2, 48, 3)
    sparse = Conditions(stacked=conditions.stacked, aligned=conditions.aligned)
    with torch.no_grad():
        expected = network(x, t, sparse)
    assert (exported(x, t, sparse) - expected).abs().max() < 1e-5 * expected.std()
    with pytest.raises(ValueError, match="'aligned'"):
        exported(x, t, Conditions(stacked=conditions.stacked))


def test_another_number_of_threads_is_that_of_pytorch(networks: tuple[UNet1d, OnnxNetwork]) -> None:
    network, exported = networks
    x, t, conditions = inputs(network, 1, 32, 2)
    before = exported(x, t, conditions)
    try:
        torch.set_num_threads(2)
        after = exported(x, t, conditions)
        options = exported._session.get_session_options()
        assert options.intra_op_num_threads == 2
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(after, before)


def test_gradients_are_refused_in_one_line(networks: tuple[UNet1d, OnnxNetwork]) -> None:
    network, exported = networks
    x, t, conditions = inputs(network, 1, 32, 2)
    with pytest.raises(InputError, match=r"no gradients; set data\.corrections to 0") as refusal:
        exported(x.requires_grad_(), t, conditions)
    assert "\n" not in str(refusal.value)


def test_it_describes_the_network_and_holds_its_hash_only(networks: tuple[UNet1d, OnnxNetwork]) -> None:
    network, exported = networks
    assert exported.channels == 4 and exported.number_names == NUMBERS
    assert exported.step is not None and exported.total_stride == network.total_stride
    assert sum(p.numel() for p in exported.parameters()) == sum(p.numel() for p in network.parameters())
    assert list(exported.state_dict()) == ["sha256"]
