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
def test_thirty_seconds_have_the_papers_length_at_the_bottom_of_the_u(stage, stride, seconds_30, bottom):
    network = paper_network(stage)
    assert network.total_stride == stride
    seen = []
    network.blocks_down[-1][0].register_forward_hook(
        lambda module, given, output: seen.append(output.shape[-1])
    )
    stacked = network.entry.in_channels - network.channels
    x = torch.empty(1, network.channels, seconds_30, device="meta")
    told = Conditions(stacked=torch.empty(1, stacked, seconds_30, device="meta") if stacked else None)
    assert network(x, torch.empty(1, device="meta"), told).shape == x.shape
    assert seen == [bottom]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(length=st.integers(1, 150))
def test_any_length_comes_out_as_it_went_in(small_unet, inputs, length):
    out = small_unet()(*inputs(length))
    assert out.shape == (2, 2, length)
    assert torch.isfinite(out).all()


@settings(max_examples=25)
@given(strides=st.lists(st.integers(2, 5), min_size=1, max_size=3), kernel=st.sampled_from([1, 3, 5, 7, 9]))
def test_any_strides_and_kernels_fit_together(strides, kernel):
    n = len(strides)
    network = UNet1d(1, 8, [4] * n, strides, [1] * n, [False] * n, [False] * n, kernel)
    assert network(torch.randn(2, 1, 77), torch.rand(2)).shape == (2, 1, 77)


def test_a_length_that_the_stride_does_not_divide_is_continued_by_silence(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs(61)
    told_longer = dataclasses.replace(told, stacked=torch.nn.functional.pad(told.stacked, (0, 11)))
    by_hand = network(torch.nn.functional.pad(x, (0, 11)), t, told_longer)
    assert torch.equal(network(x, t, told), by_hand[..., :61])


def test_a_batch_is_evaluated_row_by_row(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs(48)
    together = network(x, t, told)
    for i in range(2):
        fields = {f.name: getattr(told, f.name)[i : i + 1] for f in dataclasses.fields(told)}
        alone = network(x[i : i + 1], t[i : i + 1], Conditions(**fields))
        torch.testing.assert_close(alone, together[i : i + 1], atol=1e-5, rtol=1e-4)


# The null text -----------------------------------------------------------------------------------


def test_without_a_visible_token_the_text_is_as_if_it_were_not_there(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs()
    no_text = network(x, t, dataclasses.replace(told, text=None, text_mask=None))
    assert torch.equal(network(x, t, told.drop_text()), no_text)
    other = dataclasses.replace(told, text=1000 * torch.randn_like(told.text))
    assert torch.equal(network(x, t, other.drop_text()), no_text)
    assert not torch.allclose(network(x, t, told), no_text, atol=1e-3)


def test_a_text_of_no_tokens_is_the_null_text(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs(tokens=0)
    no_text = network(x, t, dataclasses.replace(told, text=None, text_mask=None))
    assert torch.equal(network(x, t, told), no_text)


def test_text_is_dropped_row_by_row(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs()
    mixed = network(x, t, told.drop_text(torch.tensor([True, False])))
    assert torch.equal(mixed[0], network(x, t, told.drop_text())[0])
    assert torch.equal(mixed[1], network(x, t, told)[1])


def test_padding_tokens_change_nothing(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs()
    assert not told.text_mask.all()
    filled = torch.where(told.text_mask[..., None], told.text, 100.0)
    assert torch.equal(network(x, t, dataclasses.replace(told, text=filled)), network(x, t, told))
    longer = told.with_text(
        torch.nn.functional.pad(told.text, (0, 0, 0, 4), value=5.0),
        torch.nn.functional.pad(told.text_mask, (0, 4)),
    )
    torch.testing.assert_close(network(x, t, longer), network(x, t, told), atol=1e-6, rtol=1e-5)


# Entrances ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("entrance", ["text", "stacked", "aligned", "level"])
def test_every_entrance_is_heard(small_unet, inputs, entrance):
    network = small_unet()
    x, t, told = inputs()
    changed = dataclasses.replace(told, **{entrance: getattr(told, entrance).flip(0)})
    difference = (network(x, t, changed) - network(x, t, told)).abs()
    assert (difference.amax(dim=(1, 2)) > 1e-4).all()


def test_a_pooled_text_is_heard_where_no_level_attends(small_unet, inputs):
    network = small_unet(cross_attention=[False] * 3)
    x, t, told = inputs()
    changed = dataclasses.replace(told, text=told.text.flip(0))
    assert ((network(x, t, changed) - network(x, t, told)).abs().amax(dim=(1, 2)) > 1e-4).all()


def test_time_and_x_t_are_heard(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs()
    for changed in (network(x, t.flip(0), told), network(x.flip(0), t, told)):
        assert ((changed - network(x, t, told)).abs().amax(dim=(1, 2)) > 1e-4).all()


@pytest.mark.parametrize("rest", [0, 5])
def test_the_aligned_signal_enters_where_it_belongs_in_time(small_unet, rest):
    network = small_unet(
        self_attention=[False] * 3, cross_attention=[False] * 3, text_channels=None, pooled_text=False
    )
    for module in network.modules():  # normalisation over time would spread any change
        if isinstance(module, torch.nn.GroupNorm):
            module.forward = lambda x, silu=False: torch.nn.functional.silu(x) if silu else x
    # With a rest, the bottom of the U is one step longer than the signal.
    x, t = torch.randn(1, 2, 24 * 40 + rest), torch.rand(1)
    told = Conditions(stacked=torch.randn(1, 1, 24 * 40 + rest), aligned=torch.zeros(1, 5, 40))
    nudged = told.aligned.clone()
    nudged[..., 25] = 1.0
    change = network(x, t, dataclasses.replace(told, aligned=nudged)) - network(x, t, told)
    energy = change.detach().square().sum((0, 1))
    centre = (energy * torch.arange(24 * 40 + rest)).sum() / energy.sum()
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
    """Whatever falls out of it is copied back and forth at every layer from there on, unnoticed."""
    network = small_unet()
    orders = set()
    for module in network.modules():
        if isinstance(module, torch.nn.GroupNorm):
            module.register_forward_pre_hook(lambda _, given: orders.add(given[0].stride(1)))
    network(*inputs())
    assert orders == {1}


def test_no_level_is_the_level_of_a_clean_signal(small_unet, inputs):
    network = small_unet()
    x, t, told = inputs()
    clean = dataclasses.replace(told, level=torch.zeros(2))
    assert torch.equal(network(x, t, dataclasses.replace(told, level=None)), network(x, t, clean))


# Training ----------------------------------------------------------------------------------------


def loss_of(network, inputs):
    x, t, told = inputs(50)
    out = network.train()(x, t, told)
    return out, (out * torch.randn(out.shape, generator=torch.Generator().manual_seed(3))).sum()


def test_the_gradient_reaches_every_parameter(small_unet, inputs):
    network = small_unet()
    loss_of(network, inputs)[1].backward()
    starved = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not starved


def test_a_new_network_answers_zero_so_that_training_begins_calmly():
    network = UNet1d(1, 16, [1, 2], [4, 2], [1, 1], [False, True], [False, True], text_channels=6)
    told = Conditions(text=torch.randn(2, 3, 6), text_mask=torch.ones(2, 3, dtype=torch.bool))
    out = network(torch.randn(2, 1, 40), torch.rand(2), told)
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
    x, t, told = inputs()
    with torch.autocast("cpu", torch.bfloat16):
        low = network(x, t, told)
    assert low.dtype == torch.bfloat16
    full = network(x, t, told)
    assert (low.float() - full).abs().mean() < 0.05 * full.abs().mean()


# Wrong settings ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["multipliers", "blocks", "self_attention", "cross_attention"])
def test_lists_of_unequal_length_are_refused(small_unet, name):
    with pytest.raises(InputError, match=f"3 strides but 2 {name}"):
        small_unet(**{name: [1, 1]})


def test_attention_to_a_text_of_no_width_is_refused(small_unet):
    with pytest.raises(InputError, match="text_channels are null"):
        small_unet(text_channels=None, pooled_text=False)
    with pytest.raises(InputError, match="text_channels are null"):
        small_unet(text_channels=None, cross_attention=[False] * 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernel_size": 4}, "kernel_size is 4"),
        ({"heads": 5}, "32 channels.* 5 heads"),
        ({"base_channels": 15, "heads": 5}, "base_channels is 15"),
    ],
)
def test_widths_and_kernels_that_cannot_work_are_refused(small_unet, changes, message):
    with pytest.raises(InputError, match=message):
        small_unet(**changes)
