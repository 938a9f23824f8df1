from __future__ import annotations

import dataclasses

import pytest
import torch

from lightning_n2m.networks.conditions import Conditions


def evaluate_apart_and_together(network, x, t, one, other):
    apart = torch.cat([network(x, t, one), network(x, t, other)])
    together = network(torch.cat([x, x]), torch.cat([t, t]), one.cat(other))
    torch.testing.assert_close(together, apart, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("tokens", "others"), [(7, 7), (3, 9), (9, 3), (5, 0)])
def test_joined_conditions_say_the_same_as_each_alone(small_unet, inputs, tokens, others):
    x, t, one = inputs(tokens=tokens)
    _, _, other = inputs(tokens=others, seed=1)
    evaluate_apart_and_together(small_unet(), x, t, one, other)


@pytest.mark.parametrize("name", ["text", "stacked", "aligned", "level"])
def test_what_only_one_of_them_has_is_refused_instead_of_lost(inputs, name):
    _, _, told = inputs()
    without = dataclasses.replace(told, **{name: None})
    for one, other in ((told, without), (without, told)):
        with pytest.raises(ValueError, match=f"only one of the conditions has '{name}'"):
            one.cat(other)


def test_nothing_joined_with_nothing_is_nothing():
    assert Conditions().cat(Conditions()) == Conditions()


def test_windows_cut_signals_each_at_its_own_rate(inputs):
    _, _, told = inputs(240)
    window = told.slice(48, 144, 24)
    assert torch.equal(window.stacked, told.stacked[..., 48:144])
    assert torch.equal(window.aligned, told.aligned[..., 2:6])
    for name in ("text", "text_mask", "level"):
        assert getattr(window, name) is getattr(told, name)


def test_a_window_that_ends_between_two_frames_keeps_the_frame_that_it_touches(inputs):
    _, _, told = inputs(235)
    assert torch.equal(told.slice(216, 235, 24).aligned, told.aligned[..., 9:10])
    assert torch.equal(told.slice(24, 49, 24).aligned, told.aligned[..., 1:3])


def test_windows_of_nothing_are_nothing():
    assert Conditions().slice(0, 10, 5) == Conditions()


def test_text_is_hidden_of_all_or_of_the_chosen(inputs):
    _, _, told = inputs()
    assert not told.drop_text().text_mask.any()
    some = told.drop_text(torch.tensor([False, True])).text_mask
    assert torch.equal(some[0], told.text_mask[0])
    assert not some[1].any()
    assert Conditions().drop_text() == Conditions()


def test_another_text_leaves_everything_else(inputs):
    _, _, told = inputs()
    text, mask = torch.zeros(2, 1, 6), torch.ones(2, 1, dtype=torch.bool)
    changed = told.with_text(text, mask)
    assert changed.text is text
    assert changed.text_mask is mask
    assert changed.stacked is told.stacked
