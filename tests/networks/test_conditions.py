from __future__ import annotations

import dataclasses

import pytest
import torch

from lightning_n2m.networks.conditions import Conditions


def assert_joined_equals_separate(network, x, t, one, other):
    separate = torch.cat([network(x, t, one), network(x, t, other)])
    together = network(torch.cat([x, x]), torch.cat([t, t]), one.cat(other))
    torch.testing.assert_close(together, separate, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("tokens", "other_tokens"), [(7, 7), (3, 9), (9, 3), (5, 0)])
def test_joined_conditions_give_the_outputs_of_each(small_unet, inputs, tokens, other_tokens):
    x, t, one = inputs(tokens=tokens)
    _, _, other = inputs(tokens=other_tokens, seed=1)
    assert_joined_equals_separate(small_unet(), x, t, one, other)


@pytest.mark.parametrize("name", ["text", "stacked", "aligned", "level"])
def test_an_input_that_only_one_of_them_has_is_refused(inputs, name):
    _, _, conditions = inputs()
    without = dataclasses.replace(conditions, **{name: None})
    for one, other in ((conditions, without), (without, conditions)):
        with pytest.raises(ValueError, match=f"Only one of the conditions has '{name}'"):
            one.cat(other)


def test_empty_conditions_are_joined_to_empty_conditions():
    assert Conditions().cat(Conditions()) == Conditions()


def test_windows_cut_each_signal_at_its_own_rate(inputs):
    _, _, conditions = inputs(240)
    window = conditions.slice(48, 144, 24)
    assert torch.equal(window.stacked, conditions.stacked[..., 48:144])
    assert torch.equal(window.aligned, conditions.aligned[..., 2:6])
    for name in ("text", "text_mask", "level"):
        assert getattr(window, name) is getattr(conditions, name)


def test_a_window_that_ends_within_a_frame_contains_the_frame(inputs):
    _, _, conditions = inputs(235)
    assert torch.equal(conditions.slice(216, 235, 24).aligned, conditions.aligned[..., 9:10])
    assert torch.equal(conditions.slice(24, 49, 24).aligned, conditions.aligned[..., 1:3])


def test_windows_of_empty_conditions_are_empty():
    assert Conditions().slice(0, 10, 5) == Conditions()


def test_text_is_dropped_for_all_samples_or_for_the_chosen_ones(inputs):
    _, _, conditions = inputs()
    assert not conditions.drop_text().text_mask.any()
    some = conditions.drop_text(torch.tensor([False, True])).text_mask
    assert torch.equal(some[0], conditions.text_mask[0])
    assert not some[1].any()
    assert Conditions().drop_text() == Conditions()


def test_with_text_changes_nothing_else(inputs):
    _, _, conditions = inputs()
    text, mask = torch.zeros(2, 1, 6), torch.ones(2, 1, dtype=torch.bool)
    changed = conditions.with_text(text, mask)
    assert changed.text is text
    assert changed.text_mask is mask
    assert changed.stacked is conditions.stacked
