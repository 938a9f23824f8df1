"""The result of a generation, as it is written or evaluated, and what a running one reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_n2m.stages.sampling import DiffusionModule


@dataclass(frozen=True)
class GeneratedClip:
    """One clip that a stage or a cascade generated.

    Args:
        audio: ``(1, t)``, nominally in [-1, 1].
        sample_rate: In Hz.
        name: Stem of a file name.
        record: Prompt, seed and settings as JSON values: one line of the manifest.
    """

    audio: Tensor
    sample_rate: int
    name: str
    record: dict[str, Any]


@dataclass(frozen=True, eq=False)
class StageProgress:
    """A running generation after a step, or at the end of a stage.

    Args:
        stage: The stage that runs.
        number: Its place in the cascade, from 0.
        stages: Number of stages that run.
        done: Number of steps done.
        total: Number of steps of this stage.
        output: Output ``(b, c, t)`` of the stage once it is complete: audio, or a log-mel.
    """

    stage: DiffusionModule
    number: int
    stages: int
    done: int
    total: int
    output: Tensor | None = None

    @property
    def name(self) -> str:
        """Name of the stage."""
        return type(self.stage).__name__

    @property
    def sample_rate(self) -> int:
        """Rate of `audio` in Hz."""
        return self.stage.sample_rate

    def audio(self) -> Tensor:
        """The complete output as audio ``(b, 1, t)``; a log-mel gets phases by Griffin-Lim."""
        assert self.output is not None
        return self.stage.to_audio(self.output).float().cpu()
