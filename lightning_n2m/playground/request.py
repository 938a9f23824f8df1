"""One request of the page: its checks, the arguments of `generate`, and the same as a command."""

from __future__ import annotations

import json
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_n2m.api import ROUTES, STAGES, cascade_arguments
from lightning_n2m.conditioning.numbers import MODES, TONICS
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.playground.settings import PlaygroundSettings
from lightning_n2m.storage import is_url

MODES_OF_EDITING = ("new", "continue", "repair", "vary")
MAX_PROMPT = 2000  # characters
KEYS = tuple(f"{tonic} {mode}" for mode in MODES for tonic in TONICS)


@dataclass(frozen=True)
class GenerationRequest:
    """What to generate.

    Args:
        prompt: Prompt.
        negative: Prompt to lead away from.
        seconds: Length of each clip.
        seed: Seed of all noise.
        guidance: Guidance scale of the generator; its own when null.
        steps: Sampling steps of the generator; its own when null.
        variations: Number of clips.
        route: Name of a model of the page.
        bpm: Tempo in beats per minute; null to leave it to the prompt.
        key: Such as ``D minor``; empty to leave it to the prompt.
        mode: ``new``, or what to do with the recording: ``continue``, ``repair`` or ``vary``.
        recording: The recording.
        extend: Seconds to generate after the recording, or before it if negative.
        regions: Regions to generate again, in seconds: ``8:12,20:24``.
        strength: How much a variation may differ from the recording.
        adapters: Names of adapters of the generator.
        adapter_strength: Their strength.
    """

    prompt: str
    negative: str = ""
    seconds: float = 10.0
    seed: int = 0
    guidance: float | None = None
    steps: int | None = None
    variations: int = 1
    route: str = "spectrogram"
    bpm: float | None = None
    key: str = ""
    mode: str = "new"
    recording: Path | None = None
    extend: float = 5.0
    regions: str = ""
    strength: float = 0.5
    adapters: tuple[str, ...] = ()
    adapter_strength: float = 1.0

    def check(self, settings: PlaygroundSettings) -> None:
        """Refuse what the page would refuse: the API receives any values.

        Raises:
            InputError: if a value is missing, has the wrong type or is out of range.
        """
        if self.mode not in MODES_OF_EDITING:
            raise InputError(f"There is no mode '{self.mode}'; give {', '.join(MODES_OF_EDITING)}.")
        if not isinstance(self.prompt, str) or not (self.prompt.strip() or self.mode != "new"):
            raise InputError("The prompt is empty; give a text such as 'a slow waltz for solo piano'.")
        if self.prompt.strip() == "-":
            # The command line reads prompts from standard input there.
            raise InputError("The prompt is '-'; give a text such as 'a slow waltz for solo piano'.")
        for name, text in (("prompt", self.prompt), ("negative prompt", self.negative)):
            if not isinstance(text, str) or len(text) > MAX_PROMPT:
                raise InputError(f"The {name} is too long; give at most {MAX_PROMPT} characters.")
        _check_number("seconds", self.seconds, 0.1, settings.max_seconds)
        _check_number("seed", self.seed, 0, 2**63, whole=True)
        _check_number("variations", self.variations, 1, settings.max_variations, whole=True)
        if self.guidance is not None:
            _check_number("guidance", self.guidance, 0, 100)
        if self.steps is not None:
            _check_number("steps", self.steps, 1, settings.max_steps, whole=True)
        if self.bpm is not None:
            _check_number("bpm", self.bpm, 20, 400)
        if self.route not in settings.routes:
            raise InputError(f"There is no route '{self.route}'; give {' or '.join(settings.routes)}.")
        _check_number("adapter_strength", self.adapter_strength, -4, 4)
        for name in self.adapters:
            if name not in settings.adapters:
                raise InputError(
                    f"There is no adapter '{name}'; start the playground with --adapters.{name}."
                )
        self._check_editing(settings)
        # Refuses a key that cannot be read, and a prompt that names other numbers.
        RequestedNumbers.parse(self.bpm, self.key).numbers(self.prompt)

    def _check_editing(self, settings: PlaygroundSettings) -> None:
        if self.mode == "new":
            return
        if self.recording is None:
            raise InputError(f"'{self.mode}' needs a recording; upload one.")
        _check_number("extend", self.extend, -settings.max_seconds, settings.max_seconds)
        _check_number("strength", self.strength, 0.01, 1)
        if self.mode == "continue" and not self.extend:
            raise InputError("extend is 0; give the seconds to generate after the recording.")
        if self.mode == "repair" and not self.regions.strip():
            raise InputError("No region is marked; drag on the waveform, or give seconds such as 8:12.")
        if len(self.regions) > MAX_PROMPT:
            raise InputError("There are too many regions; give fewer.")

    def editing(self) -> dict[str, Any]:
        """Keyword arguments of `TextToMusic.generate` for the recording."""
        if self.mode == "new":
            return {}
        what: dict[str, dict[str, Any]] = {
            "continue": {"extend": float(self.extend)},
            "repair": {"regenerate": self.regions.strip()},
            "vary": {"strength": float(self.strength)},
        }
        return {"audio": self.recording, **what[self.mode]}

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `TextToMusic.generate`."""
        changed = {"num_steps": None if self.steps is None else int(self.steps), "guidance": self.guidance}
        return {
            "prompts": [self.prompt.strip()],
            "seconds": float(self.seconds),
            "seed": int(self.seed),
            "negative": self.negative.strip(),
            "bpm": self.bpm,
            "key": self.key or None,
            "variations": int(self.variations),
            "batch_size": int(self.variations),
            "sampling": {"generator": changed},
            **self.editing(),
        }

    def adapter_runs(self, settings: PlaygroundSettings) -> list[dict[str, Any]]:
        """Adapters of the generator with their strength, as `StageRun` takes them."""
        return [
            {"folder": settings.adapters[name], "strength": float(self.adapter_strength)}
            for name in self.adapters
        ]

    def generator(self, settings: PlaygroundSettings) -> dict[str, Any]:
        """Settings of the generator that differ from those of the route: adapters, or the route's editor."""
        if self.adapters:
            return {"adapters": self.adapter_runs(settings)}
        editor = settings.editors.get(settings.routes[self.route])
        if self.mode in ("continue", "repair") and editor and find_stage_folder(editor).is_dir():
            return {"folder": editor}
        return {}

    def command(self, settings: PlaygroundSettings) -> str:
        """The command that generates the same clips, for a shell."""
        words = ["python", "-m", "lightning_n2m", "predict", *_model_options(settings.routes[self.route])]
        # With the same batch: its size changes the rounding of sums.
        words += ["--data.prompt", self.prompt.strip(), "--data.variations", str(int(self.variations))]
        words += ["--data.batch_size", str(int(self.variations))]
        words += ["--model.seconds", _exact(self.seconds), "--model.seed", str(int(self.seed))]
        if self.negative.strip():
            words += ["--model.negative", self.negative.strip()]
        if self.bpm is not None:
            words += ["--model.bpm", _exact(self.bpm)]
        if self.key:
            words += ["--model.key", self.key]
        if self.steps is not None:
            words += ["--model.generator.num_steps", str(int(self.steps))]
        if self.guidance is not None:
            words += ["--model.generator.guidance", _exact(self.guidance)]
        for name, value in self.generator(settings).items():
            words += [f"--model.generator.{name}", value if isinstance(value, str) else json.dumps(value)]
        for name, value in self.editing().items():
            text = (
                value.name if isinstance(value, Path) else value if isinstance(value, str) else _exact(value)
            )
            words.append(f"--data.{name}={text}")
        return shlex.join(words)


def _model_options(model: str) -> list[str]:
    """Options of `predict` for a model that `from_pretrained` takes."""
    if not is_url(model) and not Path(model).is_dir():
        return ["-c", f"configs/cascade/{model}.yaml" if model in ROUTES else model]
    stages = cascade_arguments(model)
    options = ["-c", "configs/cascade/spectrogram.yaml"]
    for name in STAGES:
        stage = stages[name]
        options.append(f"--model.{name}.folder={stage['folder']}" if stage else f"--model.{name}=null")
    return options


def _exact(value: float) -> str:
    """A number without loss, and without a superfluous ``.0``."""
    return repr(float(value)).removesuffix(".0")


def _check_number(name: str, value: Any, low: float, high: float, whole: bool = False) -> None:
    """Refuse what is not a number of a range."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{name} is not a number; give one from {low:g} to {high:g}.")
    if whole and value != int(value):
        raise InputError(f"{name} is {value:g}; give a whole number from {low:g} to {high:g}.")
    check_range(name, value, low, high)
