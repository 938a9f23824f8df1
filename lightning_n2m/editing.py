"""Editing through the cascade: each stage runs only where something changes, plus context.

A piece of new music is generated in a window around it. What is known in the window, of the recording or of
pieces made before, enters every stage as known data (`lightning_n2m.diffusion.known`), so that the generator
continues its music and the refiners its waveform. Kept samples are then those of the recording, except in a
cross-fade of `FADE` seconds next to each piece.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_n2m.audio.beats import estimate_beats
from lightning_n2m.audio.resample import resample
from lightning_n2m.conditioning.key import estimate_key
from lightning_n2m.conditioning.numbers import MusicNumbers
from lightning_n2m.data.editing import Edit, Piece
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.diffusion.known import Known
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage

GRID = 100  # windows begin and end at multiples of 1 / GRID seconds
FADE = 0.02  # seconds of kept music on either side of a piece that are cross-faded
CONTEXT = 10.0  # seconds of known music that the generator sees on either side of a piece
REFINER_CONTEXT = 1.0  # the same for the other stages
# Seconds next to what is not known at which a stage's target is not known either: half of the log-mel's
# window and the filter of the resampling, or that filter alone.
GENERATOR_MARGIN, REFINER_MARGIN = 0.045, 0.005

Span = tuple[int, int]
Report = Callable[[int, int, int], None]


@dataclass(frozen=True)
class Run:
    """What the stages need besides the edit.

    Args:
        stages: The cascade's stages in order.
        prompts: One prompt for each clip.
        numbers: Number of each clip's noise.
        seed: Seed of all noise.
        negative: Prompt to lead away from.
        requested: Tempo and key of all prompts.
        start_stage: Called with the number of each stage before it runs.
        report: Called after each step with the number of the stage, the steps done and all steps.
    """

    stages: Sequence[Stage]
    prompts: Sequence[str]
    numbers: Sequence[int]
    seed: int
    negative: str
    requested: RequestedNumbers = field(default_factory=RequestedNumbers)
    start_stage: Callable[[int], None] | None = None
    report: Report | None = None

    def generate(
        self,
        number: int,
        prompts: Sequence[str],
        frames: int,
        purpose: str,
        signal: Tensor | None,
        known: Known,
        values: Sequence[MusicNumbers] | None = None,
    ) -> Tensor:
        """Output of one stage for a window of ``frames / GRID`` seconds; ``values`` are of each clip."""
        stage = self.stages[number]
        if self.start_stage is not None:
            self.start_stage(number)
        rng = PerSampleGenerator(
            f"{self.seed} {type(stage).__name__} {purpose}", self.numbers, known.x0.device
        )
        report = None if self.report is None else functools.partial(self.report, number)
        names = self.stages[0].network.number_names
        texts = [self.requested.prompt_for(prompt, names) for prompt in prompts]
        return stage.generate(
            texts, frames / GRID, rng, signal, self.negative, report, numbers=values, known=known
        )


class EditedMusic:
    """The result while its pieces are generated one after the other.

    Args:
        edit: The plan.
        run: Stages, prompts and seeds.

    Raises:
        InputError: if the rate of a stage is not a multiple of the grid.
    """

    def __init__(self, edit: Edit, run: Run) -> None:
        self.edit, self.run = edit, run
        for stage in run.stages:
            if stage.output_rate % GRID or stage.sample_rate % GRID:
                raise InputError(
                    f"{type(stage).__name__} has {stage.output_rate:g} steps a second; editing needs a "
                    f"multiple of {GRID}."
                )
        self.rate = run.stages[-1].sample_rate
        samples, _ = edit.timeline(self.rate)
        self.length = samples.shape[-1]
        self.frames = math.ceil(self.length * GRID / self.rate)
        padded = F.pad(samples, (0, self.frames * self.rate // GRID - self.length))
        self.samples = padded.repeat(len(run.prompts), 1, 1).to(run.stages[0].device)
        # Samples of the pieces that are still to be generated.
        self.unmade = [self._span(piece) for piece in edit.pieces]
        # Output of the generator for each finished piece: first frame, and steps.
        self._outputs: list[tuple[int, Tensor]] = []

    def _span(self, piece: Piece) -> Span:
        return round(piece.start * self.rate), min(round(piece.stop * self.rate), self.length)

    def add(self, piece: Piece) -> None:
        """Generate the next piece."""
        span = self._span(piece)
        first, last = self._window(span, CONTEXT)
        prompts = self.run.prompts if piece.prompt is None else [piece.prompt] * len(self.run.prompts)
        purpose = f"piece {span[0]}"
        known, numbers = self._known_target(first, last), self._numbers(first, last, prompts)
        signal = self.run.generate(0, prompts, last - first, purpose, None, known, numbers)
        self._keep_output(span, first, signal)
        # The other stages run on the piece with less context.
        start, stop = self._window(span, REFINER_CONTEXT)
        steps = round(self.run.stages[0].output_rate) // GRID
        signal = signal[..., (start - first) * steps : (stop - first) * steps]
        for number, stage in enumerate(self.run.stages[1:], start=1):
            x0 = stage.to_x0(stage.target(self._audio(start, stop, stage.sample_rate)))
            known = Known(x0, self._mask(stage.sample_rate, start, stop, REFINER_MARGIN))
            signal = self.run.generate(number, prompts, stop - start, purpose, signal, known)
        if len(self.run.stages) == 1:
            signal = self.run.stages[0].to_audio(signal)
        if not torch.isfinite(signal).all():
            raise InputError(
                "A stage generated NaN or infinite samples, and nothing was written; use other weights, or "
                "--trainer.precision 32-true."
            )
        self.unmade.remove(span)
        self._insert(span, signal, start * self.rate // GRID)

    def _window(self, span: Span, context: float) -> Span:
        """First and last frame of the grid around a span, without music that is still to be generated."""
        before = max((b for a, b in self.unmade if b <= span[0]), default=0)
        after = min((a for a, b in self.unmade if a >= span[1]), default=self.frames * self.rate // GRID)
        start, stop = span[0] - round(context * self.rate), span[1] + round(context * self.rate)
        # The frames of the span itself are always part of it.
        first = min(span[0] * GRID // self.rate, math.ceil(max(start, before) * GRID / self.rate))
        last = max(math.ceil(span[1] * GRID / self.rate), min(stop, after) * GRID // self.rate)
        return first, last

    def _audio(self, first: int, last: int, rate: int) -> Tensor:
        step = self.rate // GRID
        audio = resample(self.samples[..., first * step : last * step], self.rate, rate)
        return audio[..., : (last - first) * rate // GRID]

    def _mask(self, rate: float, first: int, last: int, margin: float) -> Tensor:
        """Steps of a window that are known at a stage's rate, ``(1, 1, steps)``."""
        steps = round((last - first) * rate / GRID)
        mask = torch.ones(1, 1, steps, dtype=torch.bool, device=self.samples.device)
        spans = [(a / self.rate, b / self.rate) for a, b in self.unmade]
        # The window's own ends are cuts through the music, unless they are ends of the music.
        spans += [(0.0, first / GRID)] if first else []
        spans += [(last / GRID, self.frames / GRID)] if last < self.frames else []
        for start, stop in spans:
            low = math.floor((start - margin - first / GRID) * rate)
            high = math.ceil((stop + margin - first / GRID) * rate)
            mask[..., max(0, low) : max(0, high)] = False
        return mask

    def _numbers(self, first: int, last: int, prompts: Sequence[str]) -> list[MusicNumbers]:
        """Tempo, beats and key of a window for each clip: estimated from what is known, for what is not.

        A tempo that is requested, or named by the prompt, is searched near itself in the known music. Where
        that has other beats or no clear ones, new music has the requested tempo and any phase.
        """
        names = self.run.stages[0].network.number_names
        requested = [self.run.requested.numbers(prompt) for prompt in prompts]
        known = self._mask(self.rate, first, last, 0.0)[0, 0].cpu()
        if not names or (first == 0 and not known.any()):
            return requested  # the first piece of new music begins on a beat
        audio = self._audio(first, last, self.rate).cpu()
        numbers = []
        for row, clip in zip(requested, audio, strict=True):
            beats = estimate_beats(clip, self.rate, known, row.tempo)
            tempo, beat = (row.tempo, None) if beats is None else (beats.tempo, beats.at(0.0))
            numbers.append(MusicNumbers(tempo, row.key or estimate_key(clip[:, known], self.rate), beat))
        return numbers

    def _known_target(self, first: int, last: int) -> Known:
        """What the generator knows of its output in a window."""
        generator = self.run.stages[0]
        target = generator.target(self._audio(first, last, generator.sample_rate))
        steps = round(generator.output_rate) // GRID
        # A finished piece is known as the generator made it: its analysis after refinement would drift.
        for start, output in self._outputs:
            stop = start + output.shape[-1] // steps
            low, high = max(first, start), min(last, stop)
            if low < high:
                target[..., (low - first) * steps : (high - first) * steps] = output[
                    ..., (low - start) * steps : (high - start) * steps
                ]
        mask = self._mask(generator.output_rate, first, last, GENERATOR_MARGIN)
        edit = self.edit
        return Known(generator.to_x0(target), mask, edit.strength, edit.resampling, edit.corrections)

    def _keep_output(self, span: Span, first: int, signal: Tensor) -> None:
        start, stop = span[0] * GRID // self.rate, math.ceil(span[1] * GRID / self.rate)
        steps = round(self.run.stages[0].output_rate) // GRID
        self._outputs.append((start, signal[..., (start - first) * steps : (stop - first) * steps].clone()))

    def _insert(self, span: Span, signal: Tensor, offset: int) -> None:
        """Replace a span by new samples, with a cross-fade into the known music on either side."""
        start, stop = span
        fade = round(FADE * self.rate)
        ramp = (torch.arange(fade, device=signal.device) + 0.5) / fade
        new = signal[..., start - offset : stop - offset]
        for low, weight in ((start - fade, ramp), (stop, ramp.flip(0))):
            high = low + fade
            is_known = not any(a < high and low < b for a, b in self.unmade)
            if is_known and low >= max(0, offset) and high <= min(self.length, offset + signal.shape[-1]):
                old, refined = self.samples[..., low:high], signal[..., low - offset : high - offset]
                self.samples[..., low:high] = torch.lerp(old, refined, weight)
        self.samples[..., start:stop] = new


def edit_music(edit: Edit, run: Run, end_piece: Callable[[], None] | None = None) -> Tensor:
    """Music by a plan: a continuation, a repair, or a long piece of sections.

    Args:
        edit: The plan.
        run: Stages, prompts and seeds.
        end_piece: Called after each piece.

    Returns:
        ``(b, 1, edit.seconds * rate of the last stage)``.

    Raises:
        InputError: if a stage cannot be used, or generates NaN or infinite samples.
    """
    music = EditedMusic(edit, run)
    for piece in edit.pieces:
        music.add(piece)
        if end_piece is not None:
            end_piece()
    return music.samples[..., : music.length]


def whole_recording(edit: Edit, generator: Stage, seconds: float, clips: int) -> Known:
    """The recording as the starting point of a variation, of which nothing is kept.

    Args:
        edit: The plan.
        generator: First stage.
        seconds: Length of the result.
        clips: Number of clips.
    """
    samples, _ = edit.timeline(generator.sample_rate)
    x0 = generator.to_x0(generator.target(samples.repeat(clips, 1, 1).to(generator.device)))
    length = round(seconds * generator.output_rate)
    x0 = F.pad(x0, (0, max(0, length - x0.shape[-1])), mode="replicate")[..., :length]
    mask = torch.zeros(1, 1, length, dtype=torch.bool, device=x0.device)
    return Known(x0, mask, edit.strength)
