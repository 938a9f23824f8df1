"""Which stages a cascade runs, with which adapters and sampler settings."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning_n2m.diffusion.sampler import Method
from lightning_n2m.errors import InputError
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.stages.adapters import add_adapters
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.onnx_bundle import load_for_sampling
from lightning_n2m.stages.settings import Sampling


@dataclass(frozen=True)
class AdapterRun:
    """Which adapter to add to a stage.

    Args:
        folder: What ``export`` wrote for a run of ``fit --adapter``, or the folder of the run.
        strength: 0 leaves the stage as it is, 1 is the adapter as trained; from -4 to 4.
    """

    folder: str
    strength: float = 1.0


@dataclass(frozen=True)
class StageRun:
    """Which stage to run, with sampling settings that replace those of the stage's own config.

    Args:
        folder: Folder or URL of the trained stage.
        num_steps: Number of steps.
        guidance: Guidance scale.
        step_schedule: Step list, by name.
        reverse_schedule: Reverse the step list: front-heavy becomes back-heavy.
        method: Sampler.
        gamma: Stochasticity of the ancestral and of the few-step sampler.
        conditioning_noise: Diffusion time to which the signal of the previous stage is noised.
        consistency_iterations: Number of consistency projections onto that signal.
        adapters: Adapters that were trained on this stage; their changes add up.
        guidance_interval: Diffusion times (from, to) with guidance.
        weak: Folder or URL of a weaker version of the stage, such as an early checkpoint, away from which
            guidance leads (autoguidance); the unconditional estimate when null.
    """

    folder: str
    num_steps: int | None = None
    guidance: float | None = None
    step_schedule: str | None = None
    reverse_schedule: bool | None = None
    method: Method | None = None
    gamma: float | None = None
    conditioning_noise: float | None = None
    consistency_iterations: int | None = None
    adapters: Sequence[AdapterRun] = ()
    guidance_interval: tuple[float, float] | None = None
    weak: str | None = None

    def load(self) -> Stage:
        """Load the stage and replace its sampling settings.

        Raises:
            InputError: if the folder is not that of a trained stage, or a setting is out of range.
        """
        folder = find_stage_folder(self.folder)
        if not folder.is_dir():
            raise InputError(
                f"The stage folder {self.folder} does not exist; train the stage, give another folder, or "
                "run the command in a clone of the project, which holds the starter weights ('git clone')."
            )
        stage = load_for_sampling(folder)
        add_adapters(stage, [(find_stage_folder(run.folder), run.strength) for run in self.adapters])
        settings = dataclasses.asdict(self)
        del settings["folder"], settings["adapters"], settings["weak"]
        stage.sampling = replace_sampling(stage.sampling, settings)
        if self.weak is not None:
            stage.guide_by(load_for_sampling(find_stage_folder(self.weak)))
        return stage


def replace_sampling(sampling: Sampling, settings: Mapping[str, Any]) -> Sampling:
    """Sampler settings in which some are replaced.

    Args:
        sampling: The settings of a stage.
        settings: Fields of `Sampling` by name, with the guidance scale as ``guidance`` and its interval as
            ``guidance_interval``; null keeps a value.

    Raises:
        InputError: if a value is out of range, or there is no such setting.
    """
    replaced = {name: value for name, value in settings.items() if value is not None}
    guidance = {}
    if "guidance" in replaced:
        guidance["scale"] = replaced.pop("guidance")
    if "guidance_interval" in replaced:
        guidance["interval"] = replaced.pop("guidance_interval")
    if guidance:
        replaced["guidance"] = dataclasses.replace(sampling.guidance, **guidance)
    unknown = replaced.keys() - {field.name for field in dataclasses.fields(sampling)}
    if unknown:
        raise InputError(f"There is no sampler setting '{min(unknown)}'; give num_steps, guidance or method.")
    return dataclasses.replace(sampling, **replaced)
