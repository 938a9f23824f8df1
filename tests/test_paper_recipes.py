"""configs/paper against the tables of the paper, copied here as literals: a wrong value fails."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml

from lightning_n2m.diffusion.steps import STEP_LISTS
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.stage_config import build_stage
from tests.integration.conftest import STAGES
from tests.paths import ROOT


def rows(table: dict[str, tuple[Any, ...]]) -> list[tuple[str, str, Any]]:
    """Stage, name of the row and value of each cell of a table."""
    return [
        (stage, name, values[column]) for name, values in table.items() for column, stage in enumerate(STAGES)
    ]


# Table 2. Section 3.1 and 3.2 define the loss weights and schedules.
TABLE_2 = {
    "max_steps": (1_600_000, 460_000, 1_800_000, 840_000, 270_000),
    "max_tokens": (64, 64, 96, None, None),
    "weight": ("simplified", "simplified", "sigma", "simplified", "simplified"),
    "schedule": ("CosineSchedule", "LinearSchedule", "LinearSchedule", "LinearSchedule", "LinearSchedule"),
}
# Table 3. Guidance 1 is no guidance.
TABLE_3 = {
    "step_schedule": STAGES,
    "num_steps": (1000, 800, 1000, 100, 800),
    "gamma": (0, 1, 0, 0, 0),
    "guidance": (10.0, 5.0, 5.0, 1.0, 1.0),
}
# Table 7: (span of t, number of equal steps), from t = 0.
TABLE_7 = {
    "waveform_generator": [(0.01, 200), (0.04, 400), (0.15, 200), (0.30, 150), (0.50, 50)],
    "waveform_cascader": [(0.05, 400), (0.15, 200), (0.30, 150), (0.50, 50)],
    "spectrogram_generator": [(0.30, 50), (0.30, 150), (0.20, 300), (0.20, 500)],
    "spectrogram_vocoder": [(0.05, 50), (0.15, 30), (0.30, 15), (0.50, 5)],
    "super_resolution": [(0.05, 400), (0.15, 200), (0.30, 150), (0.50, 50)],
}
F, T = False, True
# Table 8. The table has no heads for networks without attention.
TABLE_8 = {
    "base_channels": (256, 256, 256, 128, 256),
    "kernel_size": (7, 7, 9, 5, 7),
    "strides": ([4, 4, 4, 4, 4, 4], [4, 4, 4, 4, 4], [4, 3, 2, 2, 2], [2, 4, 4, 5], [4, 4, 4, 4]),
    "multipliers": ([1, 1, 2, 3, 4, 4], [1, 1, 2, 3, 4], [1, 2, 2, 3, 4], [1, 1, 2, 4], [1, 1, 2, 2]),
    "blocks": ([3, 3, 3, 4, 4, 4], [3, 3, 4, 6, 6], [6, 6, 6, 6, 6], [4, 4, 4, 4], [4, 4, 4, 4]),
    "self_attention": ([F, F, F, T, T, T], [F] * 5, [F, F, F, T, T], [F] * 4, [F] * 4),
    "cross_attention": ([F, F, F, T, T, T], [F, F, F, T, T], [F, F, F, T, T], [F] * 4, [F] * 4),
}
HEADS = {"waveform_generator": 8, "waveform_cascader": 8, "spectrogram_generator": 8}
# Section 3.3: rates of input and output, channels of x_t, inputs besides the text.
SECTION_33 = {
    "channels": (1, 1, 80, 1, 1),
    "stacked_channels": (0, 1, 0, 0, 1),
    "aligned_channels": (0, 0, 0, 80, 0),
    "sample_rate": (3200, 16_000, 16_000, 16_000, 24_000),
    "low_rate": (None, 3200, None, None, 16_000),
    "text_channels": (4096, 4096, 4096, None, None),  # T5-XXL, by the parameter counts of table 2
}
# Section 4.1 and appendix C.
SECTION_41 = {
    "learning_rate": (1e-4,) * 5,
    "betas": ((0.9, 0.999),) * 5,
    "warmup_steps": (10_000,) * 5,
    "total_steps": (2_500_000,) * 5,
    "ema": (0.9999,) * 5,
    "effective_batch": (2048, 2048, 2048, 2048, 4096),
    "text_dropout": (0.1,) * 5,
    "t_max": (None, 0.5, None, 1.0, 1.0),
    "blur_std": (None, (0.1, 5.0), None, (0.2, 1.0), None),
}
MILLION_PARAMETERS = (724, 487, 745, 25.7, 81)


def recipe(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "configs" / "paper" / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def stages() -> dict[str, Stage]:
    with torch.device("meta"):
        return {name: build_stage(recipe(name)["model"]) for name in STAGES}


def cell_id(value: Any) -> str:
    return str(value) if isinstance(value, str) else ""


@pytest.mark.parametrize(("name", "key", "expected"), rows(TABLE_2), ids=cell_id)
def test_table_2(stages: dict[str, Stage], name: str, key: str, expected: Any) -> None:
    stage = stages[name]
    values = {
        "max_steps": recipe(name)["trainer"]["max_steps"],
        "max_tokens": stage.text.max_tokens if stage.text else None,
        "weight": stage.objective.weight,
        "schedule": type(stage.objective.schedule).__name__,
    }
    assert values[key] == expected


def test_table_2_parameters(stages: dict[str, Stage]) -> None:
    for name, millions in zip(STAGES, MILLION_PARAMETERS, strict=True):
        count = sum(parameter.numel() for parameter in stages[name].network.parameters())
        assert count / 1e6 == pytest.approx(millions, rel=0.08), name


@pytest.mark.parametrize(("name", "key", "expected"), rows(TABLE_3), ids=cell_id)
def test_table_3(stages: dict[str, Stage], name: str, key: str, expected: Any) -> None:
    sampling = stages[name].sampling
    value = sampling.guidance.scale if key == "guidance" else getattr(sampling, key)
    assert value == expected
    # The ancestral sampler, without a late start or a reversed list.
    assert (sampling.method, sampling.start_time, sampling.reverse_schedule) == ("ancestral", 1, False)


@pytest.mark.parametrize("name", STAGES)
def test_table_7(stages: dict[str, Stage], name: str) -> None:
    segments = [(segment.span, segment.steps) for segment in STEP_LISTS[stages[name].sampling.step_schedule]]
    assert segments == TABLE_7[name]


@pytest.mark.parametrize(("name", "key", "expected"), rows(TABLE_8), ids=cell_id)
def test_table_8(name: str, key: str, expected: Any) -> None:
    assert recipe(name)["model"]["init_args"]["network"]["init_args"][key] == expected


@pytest.mark.parametrize("name", HEADS)
def test_table_8_heads(name: str) -> None:
    assert recipe(name)["model"]["init_args"]["network"]["init_args"]["heads"] == HEADS[name]


@pytest.mark.parametrize(("name", "key", "expected"), rows(SECTION_33), ids=cell_id)
def test_section_33(stages: dict[str, Stage], name: str, key: str, expected: Any) -> None:
    stage = stages[name]
    network = stage.network
    values = {
        "channels": network.channels,
        "stacked_channels": network.entry.in_channels - network.channels,
        "aligned_channels": network.aligned.in_channels if network.aligned is not None else 0,
        "sample_rate": stage.sample_rate,
        "low_rate": getattr(stage.conditioner, "rate", None),
        "text_channels": network.text_channels,
    }
    assert values[key] == expected


@pytest.mark.parametrize(("name", "key", "expected"), rows(SECTION_41), ids=cell_id)
def test_section_41(stages: dict[str, Stage], name: str, key: str, expected: Any) -> None:
    stage, config = stages[name], recipe(name)
    augmentation = stage.conditioner.augmentation if stage.conditioner else None
    blur = augmentation.blur_std if augmentation else None
    values = {
        "ema": config["ema"]["decay"],
        "effective_batch": config["data"]["init_args"]["effective_batch"],
        "text_dropout": stage.text_dropout,
        "t_max": augmentation.t_max if augmentation else None,
        "blur_std": tuple(blur) if blur else None,
        "betas": tuple(stage.optimisation.betas),
        "learning_rate": stage.optimisation.learning_rate,
        "warmup_steps": stage.optimisation.warmup_steps,
        "total_steps": stage.optimisation.total_steps,
    }
    assert values[key] == expected


@pytest.mark.parametrize("name", STAGES)
def test_the_length_of_a_training_example(stages: dict[str, Stage], name: str) -> None:
    """Generators train on whole clips of 30 s, the other stages on 3 to 4 s (rounded to the total stride)."""
    seconds = stages[name].seconds
    assert seconds == 30 if name.endswith("generator") else 3 <= seconds <= 4.1


@pytest.mark.parametrize("name", STAGES)
def test_what_the_paper_does_not_have_is_off(stages: dict[str, Stage], name: str) -> None:
    stage = stages[name]
    assert (stage.scale, stage.emphasis, stage.objective.schedule.shift) == (1, 0, 0)
    assert stage.sampling.consistency_iterations == 0 and stage.sampling.conditioning_noise == 0
    assert stage.sampling.guidance.rescale == 0 and stage.sampling.guidance.interval == (0, 1)
