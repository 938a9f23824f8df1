"""Auxiliary losses against their formulas; they train the way to the middle of the network."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.schedule import CosineSchedule
from lightning_n2m.errors import InputError
from lightning_n2m.stages.auxiliary import FeatureLoss, FeaturePredictor, manifold_loss
from lightning_n2m.stages.generators import WaveformGenerator
from tests.stages.test_base import Encoder, batch, unet


def frames(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def predictor(features: Tensor, **settings: Any) -> FeaturePredictor:
    """A predictor whose projection leaves its input as it is."""
    module = FeaturePredictor(features.shape[1], FeatureLoss("chroma", **settings))
    module.project = nn.Sequential(nn.Identity())
    return module


def test_the_manifold_loss_compares_the_angles_of_all_pairs() -> None:
    a, b = frames(2, 2, 5, 4).unbind(0)
    total = 0.0
    for sample in range(2):
        for i in range(4):
            for j in range(4):
                cosines = [torch.cosine_similarity(y[sample, :, i], y[sample, :, j], dim=0) for y in (a, b)]
                total += float(cosines[0] - cosines[1]) ** 2
    assert manifold_loss(a, b).item() == pytest.approx(total / 32, rel=1e-4)


def test_aligned_features_have_no_loss_whatever_their_length() -> None:
    features = frames(3, 13, 6)
    scaled = features * torch.rand(3, 1, 6).add(0.5)
    assert predictor(features, kind="alignment")(scaled, features).item() == pytest.approx(0, abs=1e-6)
    opposite = predictor(features, kind="alignment", manifold_weight=0.0)(-features, features)
    assert opposite.item() == pytest.approx(2)
    turned = predictor(features, kind="alignment")(features.flip(2), features)
    assert turned > 0.5


def test_regression_is_the_squared_error_at_the_rate_of_the_features() -> None:
    features = frames(1, 13, 8)
    coarse = torch.ones(1, 13, 2)
    loss = predictor(features, kind="regression")(coarse, features)
    assert loss.item() == pytest.approx((features - 1).square().mean().item(), rel=1e-5)


def stage(*auxiliary: FeatureLoss, **options: Any) -> WaveformGenerator:
    torch.manual_seed(0)
    built = WaveformGenerator(
        text=Encoder(),  # type: ignore[arg-type]
        network=unet(),
        objective=Objective(CosineSchedule()),
        auxiliary=auxiliary,
        **options,
    )

    def discard(*args: Any, **kwargs: Any) -> None:
        pass

    built.log = discard  # type: ignore[method-assign, assignment]
    return built


def gradients(built: WaveformGenerator) -> dict[str, float]:
    music = batch(4) | {"features": {"chroma": frames(4, 13, 5)}}
    built.training_step(music, 0).backward()
    return {
        name: 0.0 if parameter.grad is None else float(parameter.grad.abs().sum())
        for name, parameter in built.named_parameters()
    }


def test_a_loss_reaches_the_layers_before_the_middle_only() -> None:
    plain, with_loss = gradients(stage()), gradients(stage(FeatureLoss("chroma", "regression", 10.0)))
    changed = {name for name, value in plain.items() if with_loss[name] != value}
    assert "network.downs.1.weight" in changed
    assert not any(name.startswith(("network.ups", "network.exit", "network.blocks_up")) for name in changed)
    assert all(value > 0 for name, value in with_loss.items() if name.startswith("auxiliary"))


def test_a_loss_ends_at_its_step_and_every_parameter_keeps_a_gradient() -> None:
    """DDP waits for the gradient of every parameter, so that a loss that has ended gives zeros."""
    ended = stage(FeatureLoss("chroma", "regression", 10.0, until_step=0))
    after, plain = gradients(ended), gradients(stage())
    assert {name: after[name] for name in plain} == plain
    heads = [p.grad for name, p in ended.named_parameters() if name.startswith("auxiliary")]
    assert heads and all(grad is not None and not grad.any() for grad in heads)


def test_without_losses_a_stage_has_no_other_parameters() -> None:
    assert all(name.startswith("network.") for name in stage().state_dict())
    assert stage().training_features == ()
    assert stage(FeatureLoss("chroma")).training_features == ("chroma",)


def test_a_compiled_or_sharded_network_is_refused() -> None:
    with pytest.raises(InputError, match=r"model\.compile"):
        stage(FeatureLoss("chroma"), compile=True)
    built = stage(FeatureLoss("chroma"))
    built._device_mesh = {"data_parallel": None}  # type: ignore[assignment]
    with pytest.raises(InputError, match=r"ddp\.yaml"):
        built.configure_model()
