from __future__ import annotations

import dataclasses

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_n2m.errors import InputError
from lightning_n2m.networks.blocks import Block
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from tests.paths import ROOT

RECIPES = ROOT / "configs" / "paper"

# Table 2 of the paper, in millions.
PARAMETERS = {
    "waveform_generator": 724,
    "waveform_cascader": 487,
    "spectrogram_generator": 745,
    "spectrogram_vocoder": 25.7,
    "super_resolution": 81,
}


def paper_network(stage):
    settings = yaml.safe_load((RECIPES / f"{stage}.yaml").read_text())["model"]["init_args"]["network"]
    assert settings["class_path"] == "lightning_n2m.networks.unet.UNet1d"
    with torch.device("meta"):
        return UNet1d(**settings["init_args"])


@pytest.mark.parametrize("stage", PARAMETERS)
def test_the_shipped_recipes_have_the_papers_number_of_parameters(stage):
    count = sum(parameter.numel() for parameter in paper_network(stage).parameters())
    assert count / 1e6 == pytest.approx(PARAMETERS[stage], rel=0.08)


@pytest.mark.parametrize(
    ("stage", "stride", "seconds_30", "bottom"),
    [
        ("waveform_generator", 4096, 96_000, 24),
        ("waveform_cascader", 1024, 480_000, 469),
        ("spectrogram_generator", 96, 3000, 32),
        ("spectrogram_vocoder", 160, 480_000, 3000),
        ("super_resolution", 256, 720_000, 2813),
    ],
)
def test_thirty_seconds_have_the_papers_length_at_the_deepest_level(stage, stride, seconds_30, bottom):
    network = paper_network(stage)
    assert network.total_stride == stride
    lengths = []
    network.blocks_down[-1][0].register_forward_hook(
        lambda module, arguments, output: lengths.append(output.shape[-1])
    )
    stacked = network.entry.in_channels - network.channels
    x = torch.empty(1, network.channels, seconds_30, device="meta")
    conditions = Conditions(stacked=torch.empty(1, stacked, seconds_30, device="meta") if stacked else None)
    assert network(x, torch.empty(1, device="meta"), conditions).shape == x.shape
    assert lengths == [bottom]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(length=st.integers(1, 150))
def test_outputs_have_the_length_of_the_input(small_unet, inputs, length):
    out = small_unet()(*inputs(length))
    assert out.shape == (2, 2, length)
    assert torch.isfinite(out).all()


@settings(max_examples=25)
@given(strides=st.lists(st.integers(2, 5), min_size=1, max_size=3), kernel=st.sampled_from([1, 3, 5, 7, 9]))
def test_any_strides_and_kernels_fit_together(strides, kernel):
    n = len(strides)
    network = UNet1d(1, 8, [4] * n, strides, [1] * n, [False] * n, [False] * n, kernel)
    assert network(torch.randn(2, 1, 77), torch.rand(2)).shape == (2, 1, 77)


def test_lengths_that_the_stride_does_not_divide_are_padded_with_zeros(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs(61)
    longer_conditions = dataclasses.replace(
        conditions, stacked=torch.nn.functional.pad(conditions.stacked, (0, 11))
    )
    padded = network(torch.nn.functional.pad(x, (0, 11)), t, longer_conditions)
    assert torch.equal(network(x, t, conditions), padded[..., :61])


def test_samples_of_a_batch_are_independent(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs(48)
    batch = network(x, t, conditions)
    for i in range(2):
        fields = {f.name: getattr(conditions, f.name) for f in dataclasses.fields(conditions)}
        rows = {name: value[i : i + 1] for name, value in fields.items() if isinstance(value, torch.Tensor)}
        single = network(x[i : i + 1], t[i : i + 1], Conditions(**rows))
        torch.testing.assert_close(single, batch[i : i + 1], atol=1e-5, rtol=1e-4)


# The null text -----------------------------------------------------------------------------------


def test_a_text_without_unmasked_tokens_equals_no_text(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs()
    no_text = network(x, t, dataclasses.replace(conditions, text=None, text_mask=None))
    assert torch.equal(network(x, t, conditions.drop_text()), no_text)
    other = dataclasses.replace(conditions, text=1000 * torch.randn_like(conditions.text))
    assert torch.equal(network(x, t, other.drop_text()), no_text)
    assert not torch.allclose(network(x, t, conditions), no_text, atol=1e-3)


def test_a_text_of_no_tokens_is_the_null_text(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs(tokens=0)
    no_text = network(x, t, dataclasses.replace(conditions, text=None, text_mask=None))
    assert torch.equal(network(x, t, conditions), no_text)


def test_text_is_dropped_per_sample(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs()
    mixed = network(x, t, conditions.drop_text(torch.tensor([True, False])))
    assert torch.equal(mixed[0], network(x, t, conditions.drop_text())[0])
    assert torch.equal(mixed[1], network(x, t, conditions)[1])


def test_masked_tokens_do_not_change_the_output(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs()
    assert not conditions.text_mask.all()
    filled = torch.where(conditions.text_mask[..., None], conditions.text, 100.0)
    assert torch.equal(network(x, t, dataclasses.replace(conditions, text=filled)), network(x, t, conditions))
    longer = conditions.with_text(
        torch.nn.functional.pad(conditions.text, (0, 0, 0, 4), value=5.0),
        torch.nn.functional.pad(conditions.text_mask, (0, 4)),
    )
    torch.testing.assert_close(network(x, t, longer), network(x, t, conditions), atol=1e-6, rtol=1e-5)


# Inputs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["text", "stacked", "aligned", "level"])
def test_every_condition_changes_the_output(small_unet, inputs, name):
    network = small_unet()
    x, t, conditions = inputs()
    changed = dataclasses.replace(conditions, **{name: getattr(conditions, name).flip(0)})
    difference = (network(x, t, changed) - network(x, t, conditions)).abs()
    assert (difference.amax(dim=(1, 2)) > 1e-4).all()


def test_a_pooled_text_changes_the_output_without_cross_attention(small_unet, inputs):
    network = small_unet(cross_attention=[False] * 3)
    x, t, conditions = inputs()
    changed = dataclasses.replace(conditions, text=conditions.text.flip(0))
    assert ((network(x, t, changed) - network(x, t, conditions)).abs().amax(dim=(1, 2)) > 1e-4).all()


def test_time_and_x_t_change_the_output(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs()
    for changed in (network(x, t.flip(0), conditions), network(x.flip(0), t, conditions)):
        assert ((changed - network(x, t, conditions)).abs().amax(dim=(1, 2)) > 1e-4).all()


@pytest.mark.parametrize("extra", [0, 5])
def test_the_aligned_signal_acts_at_its_own_time(small_unet, extra, monkeypatch):
    network = small_unet(
        self_attention=[False] * 3, cross_attention=[False] * 3, text_channels=None, pooled_text=False
    )
    for module in network.modules():  # normalisation over time would spread any change
        if isinstance(module, torch.nn.GroupNorm):
            monkeypatch.setattr(
                module, "forward", lambda x, silu=False: torch.nn.functional.silu(x) if silu else x
            )
    # With extra samples, the deepest level is one step longer than the signal.
    x, t = torch.randn(1, 2, 24 * 40 + extra), torch.rand(1)
    conditions = Conditions(stacked=torch.randn(1, 1, 24 * 40 + extra), aligned=torch.zeros(1, 5, 40))
    changed = conditions.aligned.clone()
    changed[..., 25] = 1.0
    change = network(x, t, dataclasses.replace(conditions, aligned=changed)) - network(x, t, conditions)
    energy = change.detach().square().sum((0, 1))
    centre = (energy * torch.arange(24 * 40 + extra)).sum() / energy.sum()
    assert abs(centre - 24 * 25.5) < 12


@pytest.mark.parametrize("before", [False, True])
def test_the_aligned_signal_is_added_before_or_after_the_deepest_blocks(small_unet, inputs, before):
    """Figure 1 adds it before; networks of earlier versions, whose configs lack the setting, after."""
    network = small_unet(**({"aligned_before_blocks": True} if before else {}))
    deepest_inputs = []
    network.blocks_down[-1][0].register_forward_hook(
        lambda module, arguments, output: deepest_inputs.append((arguments[0], output))
    )
    x, t, conditions = inputs()
    network(x, t, conditions)
    network(x, t, dataclasses.replace(conditions, aligned=None))
    (with_signal, _), (without, _) = deepest_inputs
    added = network.aligned(conditions.aligned) if before else torch.zeros_like(without)
    torch.testing.assert_close(with_signal, without + added, atol=1e-5, rtol=1e-5)


def test_the_place_of_the_aligned_signal_changes_no_parameter(small_unet):
    names = [
        {
            name: tuple(value.shape)
            for name, value in small_unet(aligned_before_blocks=before).state_dict().items()
        }
        for before in (False, True)
    ]
    assert names[0] == names[1]


def test_sequences_stay_in_channels_last_memory(small_unet, inputs):
    """A layer that leaves it makes every later layer copy its input and output."""
    network = small_unet()
    channel_strides = set()
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, arguments: channel_strides.add(arguments[0].stride(1)))
    network(*inputs())
    assert channel_strides == {1}


def test_a_missing_level_is_that_of_a_clean_signal(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs()
    clean = dataclasses.replace(conditions, level=torch.zeros(2))
    assert torch.equal(network(x, t, dataclasses.replace(conditions, level=None)), network(x, t, clean))


# Training ----------------------------------------------------------------------------------------


def loss_of(network, inputs):
    x, t, conditions = inputs(50)
    out = network.train()(x, t, conditions)
    return out, (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(3))).sum()


def test_the_gradient_reaches_every_parameter(small_unet, inputs):
    network = small_unet()
    loss_of(network, inputs)[1].backward()
    without_gradient = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not without_gradient


def test_a_new_network_returns_only_its_last_bias():
    network = UNet1d(1, 16, [1, 2], [4, 2], [1, 1], [False, True], [False, True], text_channels=6)
    conditions = Conditions(text=torch.randn(2, 3, 6), text_mask=torch.ones(2, 3, dtype=torch.bool))
    out = network(torch.randn(2, 1, 40), torch.rand(2), conditions)
    assert (out == network.exit.bias[:, None]).all()


def test_checkpointing_recomputes_the_blocks_and_changes_no_result(small_unet, inputs):
    results = []
    for checkpointing in (False, True):
        network, calls = small_unet(checkpointing=checkpointing), []
        for module in network.modules():
            if isinstance(module, Block):
                module.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        out, loss = loss_of(network, inputs)
        loss.backward()
        results.append((out, {name: p.grad for name, p in network.named_parameters()}, len(calls)))
    (plain, plain_gradients, once), (saved, saved_gradients, twice) = results
    assert twice == 2 * once
    torch.testing.assert_close(saved, plain)
    for name, gradient in plain_gradients.items():
        torch.testing.assert_close(saved_gradients[name], gradient, msg=lambda m, name=name: f"{name}: {m}")


def test_the_network_can_be_trained_in_bfloat16(small_unet, inputs):
    network = small_unet()
    x, t, conditions = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x, t, conditions)
    assert low.dtype == torch.bfloat16
    full = network(x, t, conditions)
    assert (low.float() - full).abs().mean() < 0.05 * full.abs().mean()


# Wrong settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["multipliers", "blocks", "self_attention", "cross_attention"])
def test_lists_of_unequal_length_are_refused(small_unet, name):
    with pytest.raises(InputError, match=f"3 strides but 2 {name}"):
        small_unet(**{name: [1, 1]})


def test_a_text_without_a_width_is_refused(small_unet):
    with pytest.raises(InputError, match="text_channels is null"):
        small_unet(text_channels=None, pooled_text=False)
    with pytest.raises(InputError, match="text_channels is null"):
        small_unet(text_channels=None, cross_attention=[False] * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size is 4"),
        ({"heads": 5}, "32 channels.* 5 heads"),
        ({"base_channels": 15, "heads": 5}, "base_channels is 15"),
        ({"channels": 0}, "network.channels is 0"),
        ({"strides": [4, 0, 2]}, "network.strides is 0"),
        ({"blocks": [1, -1, 1]}, "network.blocks is -1"),
        ({"groups": 0}, "network.groups is 0"),
        ({"refiner_channels": 8, "channels": 3}, "even number of channels, not 3"),
        ({"equal_phases": True}, "set resample_kernel to stride_multiple"),
    ],
)
def test_numbers_out_of_range_are_refused(small_unet, changes, message):
    with pytest.raises(InputError, match=message):
        small_unet(**changes)
