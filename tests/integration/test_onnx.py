"""The network of each stage in ONNX against PyTorch, as exported from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_n2m.cli.lightning_cli import run_cli
from lightning_n2m.cli.main import main
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.onnx_network import OnnxNetwork, absent_inputs
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.bundle import load_stage, write_bundle
from lightning_n2m.stages.onnx_bundle import load_for_sampling
from lightning_n2m.stages.stage_config import build_stage
from tests.integration.conftest import STAGES, tiny
from tests.integration.test_distillation import LAYOUT, SMALL

MAX_DIFFERENCE = 2e-5  # of the standard deviation of the output


def bundle(recipe: str, folder: Path) -> Path:
    """A stage with random weights."""
    stage = recipe.removesuffix("_few")
    more = (*LAYOUT, *SMALL) if recipe != stage else ()
    arguments = tiny(stage, folder / "shards", folder / "run", *more, recipe=recipe)
    config = run_cli(["fit", *arguments], parse_only=True).config_dump["model"]
    torch.manual_seed(0)
    network = build_stage(config).network
    for parameter in network.parameters():  # the output starts at zero
        if parameter.abs().max() == 0:
            torch.nn.init.normal_(parameter, std=0.1)
    return write_bundle(folder / "bundle", config, network.state_dict())


@pytest.mark.parametrize("recipe", [*STAGES, "spectrogram_generator_few"])
def test_every_stage_computes_in_onnx_what_it_computes_in_pytorch(recipe: str, tmp_path: Path) -> None:
    source = bundle(recipe, tmp_path)
    main(["export", str(source), str(tmp_path / "onnx"), "--format", "onnx"])
    ours, theirs = load_stage(source), load_for_sampling(tmp_path / "onnx")
    assert isinstance(theirs.network, OnnxNetwork)
    rng = torch.Generator().manual_seed(1)
    for batch, length in ((2, 5 * ours.network.total_stride + 3), (1, 9 * ours.network.total_stride)):
        fields = absent_inputs(ours.network, batch, length, tokens=4)
        for name, value in fields.items():
            if value.is_floating_point() and name != "tempo":
                fields[name] = torch.rand(value.shape, generator=rng)
        if ours.text is not None:
            fields["text_mask"] = torch.tensor([[True, True, True, False], [False] * 4])[:batch]
        x, t = torch.randn(batch, ours.network.channels, length, generator=rng), torch.rand(batch)
        with torch.no_grad():
            expected = ours.network(x, t, Conditions(**fields))
        difference = (theirs.network(x, t, Conditions(**fields)) - expected).abs().max()
        assert difference < MAX_DIFFERENCE * expected.std()
    if recipe.endswith("_few"):
        first, second = (
            stage.generate(["slow piano", ""], 0.5, PerSampleGenerator("0 x", [0, 1], stage.device))
            for stage in (ours, theirs)
        )
        assert (first - second).abs().max() < 1e-3 * first.std()
