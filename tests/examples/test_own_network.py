from __future__ import annotations

from examples.own_network import main


def test_a_small_network_learns_to_generate_sine_waves():
    """White noise has 1 / 33 of its energy in one of 33 bins."""
    assert main(["--steps", "200"]) > 0.6
