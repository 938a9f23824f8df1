from __future__ import annotations

import pytest
import torch

from lightning_n2m.conditioning.known_regions import KnownRegions, known_input
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import PerSampleGenerator
from tests.paths import ROOT

LENGTH = 200


def unknown_spans(mask: torch.Tensor) -> list[tuple[int, int]]:
    """The only unknown span of each row."""
    spans = []
    for row in mask[:, 0]:
        steps = torch.nonzero(row == 0).flatten().tolist()
        assert steps == list(range(steps[0], steps[-1] + 1)), "more than one unknown span"
        spans.append((steps[0], steps[-1] + 1))
    return spans


def test_kinds_of_masks_have_their_probabilities_and_lengths() -> None:
    regions = KnownRegions(prefix=0.4, suffix=0.2, outside=0.3, shortest=0.25, longest=0.5)
    mask = regions.draw(LENGTH, PerSampleGenerator(0, range(2000)))
    assert mask.shape == (2000, 1, LENGTH) and set(mask.unique().tolist()) == {0.0, 1.0}
    counts = {"none": 0, "prefix": 0, "suffix": 0, "outside": 0}
    lengths = []
    for start, stop in unknown_spans(mask):
        if stop - start == LENGTH:
            counts["none"] += 1
            continue
        counts["prefix" if stop == LENGTH else "suffix" if start == 0 else "outside"] += 1
        lengths.append(stop - start)
    # Binomial: three standard deviations of 2,000 draws are below 0.034.
    for kind, share in {"none": 0.1, "prefix": 0.4, "suffix": 0.2, "outside": 0.3}.items():
        assert counts[kind] / 2000 == pytest.approx(share, abs=0.034), kind
    assert min(lengths) >= 0.25 * LENGTH - 1 and max(lengths) <= 0.5 * LENGTH + 1
    assert sum(lengths) / len(lengths) == pytest.approx(0.375 * LENGTH, abs=2)


def test_a_mask_depends_on_the_sample_only() -> None:
    regions = KnownRegions()
    together = regions.draw(LENGTH, PerSampleGenerator("run", [3, 4, 5]))
    assert torch.equal(regions.draw(LENGTH, PerSampleGenerator("run", [4])), together[1:2])


def test_the_input_holds_the_known_part_and_the_mask_and_nothing_of_the_rest() -> None:
    x0 = torch.randn(2, 3, 8)
    x0[..., 5:] = torch.nan  # what is not known may be anything
    mask = torch.tensor([1.0] * 5 + [0.0] * 3)[None, None]
    values = known_input(x0, mask)
    assert values.shape == (2, 4, 8)
    assert torch.equal(values[:, :3, :5], x0[..., :5]) and not values[..., 5:].any()
    assert torch.equal(values[:, 3], mask[0].expand(2, -1))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="add up to more than 1"):
        KnownRegions(prefix=0.6, suffix=0.3, outside=0.2)
    with pytest.raises(InputError, match=r"known_regions\.shortest"):
        KnownRegions(shortest=0.9, longest=0.5)


def test_the_starters_edit_recipe_starts_as_the_generator_to_the_bit() -> None:
    """The recipe of fine-tuning, with --weights of the generator, gives the generator's own output."""
    from lightning_n2m.networks.conditions import Conditions
    from lightning_n2m.stages.bundle import begin_with, load_stage
    from lightning_n2m.stages.stage_config import build_stage
    from lightning_n2m.yaml_reader import read_yaml

    folder = ROOT / "pretrained" / "spectrogram_generator"
    generator = load_stage(folder)
    stage = build_stage(read_yaml(ROOT / "configs/starter/spectrogram_generator_edit.yaml")["model"]).eval()
    begin_with(stage, folder)
    x, t = torch.randn(1, 80, 123), torch.tensor([0.6])
    mask = (torch.arange(123) < 60).float()[None, None]
    with torch.no_grad():
        expected = generator.network(x, t)
        assert torch.equal(stage.network(x, t), expected)
        known = Conditions(known=known_input(torch.randn(1, 80, 123), mask))
        assert torch.equal(stage.network(x, t, known), expected)
        # The input is connected: with other weights it changes the output.
        torch.nn.init.normal_(stage.network.known.weight)  # type: ignore[union-attr, arg-type]
        assert not torch.equal(stage.network(x, t, known), expected)
        assert torch.equal(stage.network(x, t), expected)
