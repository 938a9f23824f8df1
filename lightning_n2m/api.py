"""Music from Python: ``from_pretrained("spectrogram").generate("a slow waltz", seconds=10)``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import ArgumentError, ArgumentParser

from lightning_n2m.aliases import upgrade_config
from lightning_n2m.audio.io import Audio, to_mono, write
from lightning_n2m.cascade import MAX_SECONDS, Cascade
from lightning_n2m.data.editing import plan
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.package_files import find_recipe, recipe_names
from lightning_n2m.remote.bundles import find_bundles, join_url
from lightning_n2m.stages.result import StageProgress
from lightning_n2m.stages.stage_run import replace_sampling
from lightning_n2m.storage import is_url
from lightning_n2m.yaml_reader import read_yaml

STAGES = ("generator", "refiner", "super_resolution")
ROUTES = {"spectrogram": "spectrogram_vocoder", "waveform": "waveform_cascader"}


@dataclass(frozen=True, eq=False)
class GeneratedAudio:
    """Generated clips.

    Args:
        samples: float32, nominally in [-1, 1]: ``(channels, time)`` for one clip, ``(n, channels, time)`` for
            several.
        sample_rate: In Hz.
        records: For each clip, all that decides it: the line that `predict` writes to the manifest.
    """

    samples: np.ndarray
    sample_rate: int
    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    def to_recording(self) -> Audio:
        """The clip as a recording to edit.

        Raises:
            InputError: if there are several clips.
        """
        if self.samples.ndim != 2:
            raise InputError("The audio to edit holds several clips; give one of them.")
        return Audio(to_mono(torch.from_numpy(self.samples)), self.sample_rate)

    def save(self, path: str | Path) -> list[Path]:
        """Write the clips as sound files, which appear under their names only when they are complete.

        Args:
            path: Name of the file, ending in ``.wav`` or ``.flac``. Several clips get a number:
                ``waltz-1.wav``, ``waltz-2.wav``.

        Returns:
            Paths of the files.

        Raises:
            InputError: if the ending is unknown, or the folder does not exist.
        """
        path = Path(path)
        if not path.parent.is_dir():
            raise InputError(f"The folder {path.parent} does not exist; make it first.")
        if self.samples.ndim == 2:
            clips = {path: self.samples}
        else:
            clips = {path.with_stem(f"{path.stem}-{n}"): clip for n, clip in enumerate(self.samples, start=1)}
        return [write(name, torch.from_numpy(clip), self.sample_rate) for name, clip in clips.items()]


class TextToMusic:
    """A trained cascade on a device.

    Args:
        cascade: The stages.
        device: Where they run.
    """

    def __init__(self, cascade: Cascade, device: torch.device) -> None:
        self.cascade, self.device = cascade.to(device).eval(), device

    @property
    def sample_rate(self) -> int:
        """Rate of the music in Hz."""
        return self.cascade.sample_rate

    def generate(
        self,
        prompts: str | Sequence[str] = "",
        *,
        seconds: float | None = None,
        seed: int = 0,
        negative: str = "",
        bpm: float | None = None,
        key: str | None = None,
        variations: int = 1,
        batch_size: int = 4,
        progress: bool = False,
        sampling: Mapping[str, Mapping[str, Any]] | None = None,
        observe: Callable[[StageProgress], None] | None = None,
        audio: str | Path | GeneratedAudio | None = None,
        extend: float = 0.0,
        regenerate: str | Sequence[tuple[float, float]] = "",
        strength: float | None = None,
        sections: str = "",
        resampling: int = 1,
        corrections: int = 0,
    ) -> GeneratedAudio:
        """Generate music. A clip follows from its prompt, seed, length and variation.

        Args:
            prompts: One prompt, or several.
            seconds: Length of each clip; the cascade's own when none is given.
            seed: Seed of all noise.
            negative: Prompt to lead away from.
            bpm: Tempo in beats per minute; what the prompt names when none is given.
            key: Key, for instance ``D minor``; what the prompt names when none is given.
            variations: Clips of each prompt, of different noise.
            batch_size: Clips generated in one batch.
            progress: Show the progress on standard error.
            sampling: Sampler settings of this call by stage, for instance
                ``{"generator": {"num_steps": 25, "guidance": 4.0}}``.
            observe: Called after each step of each stage, and with the output of each stage. An exception
                that it raises ends the generation.
            audio: Recording to continue, repair or vary: its file, or one clip. The prompt may then be empty.
            extend: Seconds to generate after the recording, or before it if negative.
            regenerate: Regions of the recording to generate again, in seconds: ``"8:12,20:24"``, or pairs.
            strength: How much the regenerated regions may differ from the recording, from 0.01 to 1; without
                regions, the whole recording is varied.
            sections: A long piece by a plan: ``"0:30 calm piano; 30:60 drums enter"``.
            resampling: How often each sampler step is run where a part is known.
            corrections: Iterations of the correction of each data estimate by the known part.

        Returns:
            One clip ``(channels, time)`` for one prompt with one variation; otherwise
            ``(n, channels, time)``, all variations of the first prompt first.

        Raises:
            InputError: if a prompt is empty or a setting is out of range.
        """
        texts = [prompts] if isinstance(prompts, str) else list(prompts)
        recording = audio.to_recording() if isinstance(audio, GeneratedAudio) else audio
        regions = regenerate if isinstance(regenerate, str) else list(regenerate)
        edit = plan(recording, extend, regions, strength, sections, resampling, corrections)
        if texts == [""] and edit is not None:
            texts = [" "]  # The null text: the recording, or the sections, decide.
        elif not texts or not all(isinstance(text, str) and text.strip() for text in texts):
            raise InputError("A prompt is empty; give a text such as 'a slow waltz for solo piano'.")
        check_range("variations", variations, 1, 1_000_000)
        check_range("batch_size", batch_size, 1, 1_000_000)
        length = self.cascade.seconds if seconds is None else seconds
        length = length if edit is None else edit.seconds
        check_range("seconds", length, 0.01, MAX_SECONDS)
        cascade = self.cascade
        cascade.seed, cascade.negative, cascade.progress = seed, negative, progress
        cascade.requested = RequestedNumbers.parse(bpm, key)
        cascade.edit = edit
        items = [(text.strip(), number) for text in texts for number in range(variations)]
        clips = []
        with torch.inference_mode(), self._sampling(sampling or {}):
            for start in range(0, len(items), batch_size):
                batch = items[start : start + batch_size]
                music = cascade.generate(
                    [text for text, _ in batch], [n for _, n in batch], length, observe=observe
                )
                clips.append(music.float().cpu())
            records = tuple(
                {**cascade.record({"prompt": text, "variation": number}), "seconds": length}
                for text, number in items
            )
        samples = torch.cat(clips).numpy()
        is_single = isinstance(prompts, str) and variations == 1
        return GeneratedAudio(samples[0] if is_single else samples, cascade.sample_rate, records)

    @contextmanager
    def _sampling(self, settings: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
        """Sampler settings that hold inside the block."""
        stages: dict[str, Any] = dict(zip(STAGES, self.cascade.stages, strict=False))
        unknown = settings.keys() - stages.keys()
        if unknown:
            raise InputError(f"sampling: there is no stage '{min(unknown)}'; give {', '.join(stages)}.")
        original = {name: stages[name].sampling for name in settings}
        changed = {name: replace_sampling(original[name], values) for name, values in settings.items()}
        try:
            for name, value in changed.items():
                stages[name].sampling = value
            yield
        finally:
            for name, value in original.items():
                stages[name].sampling = value


def from_pretrained(
    model: str | Path = "spectrogram",
    *,
    device: str | torch.device | None = None,
    **settings: Any,
) -> TextToMusic:
    """Load a trained cascade.

    Args:
        model: ``spectrogram`` or ``waveform`` for the starter weights of that route; a cascade config such
            as those of ``configs/cascade``; or a folder or URL (``hf://org/name``, ``https://...``) that
            holds the folders of the stages, named as in ``pretrained``.
        device: Where it runs, for instance ``cuda:1``; a GPU where there is one when none is given.
        settings: Settings of the cascade that replace those of the config, for instance
            ``generator={"num_steps": 25, "guidance": 4.0}`` or ``super_resolution=None``.

    Raises:
        InputError: if there is no such model, a stage is missing or damaged, or a setting is wrong.
    """
    arguments = cascade_arguments(str(model))
    for name, value in settings.items():
        inherited = arguments.get(name)
        merge = isinstance(value, Mapping) and isinstance(inherited, Mapping)
        arguments[name] = {**inherited, **value} if merge else value  # type: ignore[dict-item]
    try:
        place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"The device {device} is not available; give 'cpu' or 'cuda'.") from error
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Cascade, "model")
    try:
        cascade = parser.instantiate(parser.parse_object({"model": {"progress": False, **arguments}}))[
            "model"
        ]
    except (ArgumentError, TypeError, ValueError) as error:
        raise InputError(f"The cascade {model} is not valid: {' '.join(str(error).split())}") from error
    return TextToMusic(cascade, place)


def cascade_arguments(model: str) -> dict[str, Any]:
    """Arguments of `Cascade` by the name of a route, from a config or from a folder of stages.

    Args:
        model: What `from_pretrained` takes.

    Raises:
        InputError: if there is no such model.
    """
    if is_url(model):
        names = [f"{route}_generator" for route in ROUTES] + [*ROUTES.values(), "super_resolution"]
        stages = {name: join_url(model, name) for name in find_bundles(model, names)}
        return _stages_of(model, stages)
    folder = Path(model)
    if folder.is_dir():
        return _stages_of(model, {path.name: str(path) for path in folder.iterdir() if path.is_dir()})
    recipe = find_recipe(f"cascade/{model}.yaml" if model in ROUTES else model)
    if recipe is None:
        raise InputError(
            f"There is no model '{model}'; give {' or '.join(recipe_names('cascade'))}, a cascade config, or "
            "a folder of stages."
        )
    document = upgrade_config(read_yaml(recipe))
    section = document.get("model") if isinstance(document, Mapping) else None
    arguments = section.get("init_args") if isinstance(section, Mapping) else None
    if not isinstance(section, Mapping) or section.get("class_path") != "lightning_n2m.cascade.Cascade":
        raise InputError(f"{recipe} describes no cascade; give one such as configs/cascade/spectrogram.yaml.")
    if not isinstance(arguments, Mapping):
        raise InputError(f"{recipe} names no stages; give model.init_args.generator and refiner.")
    return dict(arguments)


def _stages_of(place: str, stages: Mapping[str, str]) -> dict[str, Any]:
    """The stages of one route; the spectrogram route where both are complete.

    Args:
        place: The folder of all stages, for messages.
        stages: Folder or URL of each stage by its name.
    """
    for route, refiner in ROUTES.items():
        if f"{route}_generator" in stages and refiner in stages:
            upsampler = stages.get("super_resolution")
            return {
                "generator": {"folder": stages[f"{route}_generator"]},
                "refiner": {"folder": stages[refiner]},
                "super_resolution": {"folder": upsampler} if upsampler else None,
            }
    raise InputError(
        f"{place} holds no stages; it needs spectrogram_generator and spectrogram_vocoder, or "
        "waveform_generator and waveform_cascader."
    )
