"""Network, objective and conditioner of a stage, and how a trained stage generates (section 3.4)."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lightning_n2m.audio.emphasis import emphasise, restore
from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.audio.stride_tones import remove_stride_tones
from lightning_n2m.audio.windows import overlapped, piecewise
from lightning_n2m.conditioning.conditioner import Conditioner
from lightning_n2m.conditioning.known_regions import KnownRegions, known_input
from lightning_n2m.conditioning.numbers import MusicNumbers, condition_tensors, to_batch
from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.data.prompt_attributes import parse_prompt
from lightning_n2m.diffusion.guidance import finish, guide
from lightning_n2m.diffusion.known import Known
from lightning_n2m.diffusion.objective import Objective
from lightning_n2m.diffusion.prediction import Denoised
from lightning_n2m.diffusion.sampler import Progress, sample
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.unet import UNet1d
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.settings import Sampling


class DiffusionModule(LightningModule):
    """A network with its objective and conditions. The output is audio unless a stage overrides it.

    Args:
        network: The U-Net.
        objective: Schedule, prediction and loss weight.
        sample_rate: Rate of the training audio, in Hz.
        seconds: Length of a training example.
        text: Frozen encoder of the prompt; null for a stage without text.
        conditioner: The low-fidelity signal that the stage refines; null for a generator.
        known_regions: Training with parts of the target known, for editing; null for a stage without.
        sampling: Sampler settings of the trained stage.
        scale: Factor that brings the target near unit variance; 1 in the paper.
        emphasis: Pre-emphasis coefficient of the target and of a waveform that it refines; 0 in the paper.
    """

    def __init__(
        self,
        network: UNet1d,
        objective: Objective,
        sample_rate: int,
        seconds: float,
        text: TextEncoder | None = None,
        conditioner: Conditioner | None = None,
        known_regions: KnownRegions | None = None,
        sampling: Sampling = Sampling(),
        scale: float = 1.0,
        emphasis: float = 0.0,
    ) -> None:
        super().__init__()
        check_range("sample_rate", sample_rate, 100, 1_000_000)
        check_range("seconds", seconds, 0.01, 3600)
        check_range("scale", scale, 1e-6, 1e6)
        check_range("emphasis", emphasis, 0, 0.999)
        self.network, self.objective = network, objective
        self.sample_rate, self.seconds = sample_rate, seconds
        self.text, self.conditioner, self.known_regions = text, conditioner, known_regions
        self.sampling, self.scale, self.emphasis = sampling, scale, emphasis
        self._weak: list[UNet1d] = []  # In a list: it is no part of this module's weights.
        input_slots = () if conditioner is None else conditioner.input_slots
        stacked = network.entry.in_channels - network.channels
        # Every input of the network needs a condition that fills it, and the reverse.
        for name, is_needed, is_set in (
            ("stacked_channels", "stacked" in input_slots, stacked > 0),
            ("aligned_channels", "aligned" in input_slots, network.aligned is not None),
            ("text_channels", text is not None, network.text_channels is not None),
            ("known_channels", known_regions is not None, network.known is not None),
        ):
            if is_needed and not is_set:
                raise InputError(
                    f"model.network.{name} is not set, but {type(self).__name__} needs it; set it."
                )
            if is_set and not is_needed:
                raise InputError(
                    f"model.network.{name} is set, but {type(self).__name__} has no condition for it; "
                    "leave it out."
                )
        if network.known is not None and network.known.in_channels != network.channels + 1:
            raise InputError(
                f"model.network.known_channels is {network.known.in_channels}; set it to "
                f"{network.channels + 1}, the channels of the target and one for the mask."
            )

    def guide_by(self, weak: DiffusionModule) -> None:
        """Guide away from a weaker version of this stage, such as an early checkpoint (Karras et al. 2024).

        The unconditional branch of guidance is then the weak network with the same prompt. Deviation: the
        paper guides away from the unconditional estimate.

        Args:
            weak: A trained stage; its network may be smaller.

        Raises:
            InputError: if it is another kind of stage, or its output has another meaning.
        """
        own, other = (
            {
                "stage": type(module).__name__,
                **module.diffusion_settings(),
                "channels": module.network.channels,
                "text_channels": module.network.text_channels,
                "numbers": tuple(module.network.number_names),
            }
            for module in (self, weak)
        )
        for name, value in own.items():
            if other[name] != value:
                raise InputError(
                    f"The weak stage of guidance has {name} {other[name]}, but {type(self).__name__} has "
                    f"{value}; give an earlier or smaller version of the same stage."
                )
        if self.sampling.method == "few":
            raise InputError(
                f"This {type(self).__name__} is distilled with its guidance, so it takes no weak stage; "
                "leave it out, or use its teacher."
            )
        self._weak = [weak.network]

    @property
    def output_rate(self) -> float:
        """Steps of the output per second: the sampling rate, or the frames of a spectrogram."""
        return self.sample_rate

    @property
    def trains_on_mel(self) -> MelSettings | None:
        """Analysis of the log-mel that replaces audio in training; null if audio is needed."""
        return None

    def target(self, audio: Tensor) -> Tensor:
        """The training target of audio ``(b, 1, t)``, before scaling: ``(b, c, t)``."""
        return audio

    def to_x0(self, target: Tensor) -> Tensor:
        """The target in the diffusion's space: emphasised and scaled."""
        return emphasise(target, self.emphasis) * self.scale

    def to_audio(self, output: Tensor) -> Tensor:
        """Audio ``(b, 1, t)`` at ``sample_rate`` of an output ``(b, c, t)``."""
        return output

    def with_text(self, conditions: Conditions, captions: Sequence[str]) -> Conditions:
        """Add prompts; an empty one is the null text."""
        assert self.text is not None
        encoded = self.text.encode(captions, self.device)
        if encoded.states.shape[-1] != self.network.text_channels:
            raise InputError(
                f"model.network.text_channels is {self.network.text_channels}, but the vectors of "
                f"{self.text.model} have {encoded.states.shape[-1]} numbers; set it to that."
            )
        empty = torch.tensor([not caption.strip() for caption in captions], device=self.device)
        return conditions.with_text(encoded.states, encoded.mask).drop_text(empty)

    def with_numbers(self, conditions: Conditions, numbers: Mapping[str, Tensor], length: int) -> Conditions:
        """Add the numbers that the network takes.

        Args:
            conditions: The other conditions.
            numbers: Tensors ``(b,)`` as of `lightning_n2m.conditioning.numbers.to_batch`.
            length: Steps of the output.
        """
        fields = condition_tensors(self.network.number_names, numbers, length, self.output_rate)
        return dataclasses.replace(conditions, **fields)

    @torch.no_grad()
    def generate(
        self,
        captions: Sequence[str],
        seconds: float,
        rng: PerSampleGenerator,
        signal: Tensor | None = None,
        negative: str = "",
        progress: Progress | None = None,
        numbers: Sequence[MusicNumbers] | None = None,
        known: Known | None = None,
    ) -> Tensor:
        """Sample outputs for prompts.

        Args:
            captions: One prompt for each sample; an empty one is the null text.
            seconds: Length of the output.
            rng: Source of all noise.
            signal: Output of the previous stage, ``(b, c, t)`` at its own rate.
            negative: Negative prompt, which replaces the null text of the unconditional branch.
            progress: Called after each step with the number of steps done and the total.
            numbers: Tempo and key of each sample, for a network that takes them; those that the prompt
                names when null.
            known: Known part of the output in the diffusion's space, which is kept.

        Returns:
            ``(b, c, seconds * output_rate)``, unscaled.

        Raises:
            InputError: if the stage refines a signal and none was given, or if ``sampling.start_time``
                is below 1 and the stage has no stacked waveform.
        """
        length = round(seconds * self.output_rate)
        self._check_options(negative, known)
        conditions = self._signal_conditions(length, rng, signal, known)
        if self.text is not None:
            conditions = self.with_text(conditions, captions)
        if self.network.number_names:
            values = [numbers_of_prompt(caption) for caption in captions] if numbers is None else numbers
            conditions = self.with_numbers(conditions, to_batch(values, self.device), length)
        # The unconditional branch of guidance lacks text and numbers and has all else.
        unconditional = conditions.drop_text().drop_numbers()
        if self.text is not None and negative:
            unconditional = self.with_text(unconditional, [negative] * len(captions))
        if known is not None and known.corrections:
            conditions = conditions.outside_inference_mode()
            unconditional = unconditional.outside_inference_mode()
        steps, schedule = self.sampling, self.objective.schedule
        x = self.starting_point(rng.normal(self.network.channels, length), conditions)
        start_time = steps.start_time
        if known is not None and known.strength < 1:
            x, start_time = known.starting_point(x, schedule), known.strength
        x0 = sample(
            functools.partial(self._denoise, conditions=conditions, unconditional=unconditional),
            x,
            schedule,
            steps.times() * start_time,
            rng,
            steps.method,
            steps.gamma,
            progress,
            known,
        )
        # Only of audio: in a spectrogram the multiples of rate / stride are rhythms.
        if steps.tone_filter and known is None and self.output_rate == self.sample_rate:
            averaged = round(steps.tone_filter * self.sample_rate)
            x0 = remove_stride_tones(x0, self.network.first_stride, averaged)
        output = restore(x0 / self.scale, self.emphasis)
        return output if signal is None else self._project_onto_condition(output, signal)

    def _check_options(self, negative: str, known: Known | None) -> None:
        """Refuse what a distilled stage cannot do, and two replacements of the unconditional branch."""
        is_distilled = self.sampling.method == "few"
        if self.text is not None and negative:
            if is_distilled:
                raise InputError(
                    f"A negative prompt needs two branches of guidance, and this {type(self).__name__} is "
                    "distilled into one; leave it out, or use its teacher."
                )
            if self._weak:
                raise InputError(
                    "A negative prompt and a weak stage both replace the unconditional branch of guidance; "
                    "leave one of them out."
                )
        if known is not None and known.corrections and is_distilled:
            raise InputError(
                f"Corrections need an estimate of the data, and this {type(self).__name__} is distilled "
                "into few steps; set data.corrections to 0, or use its teacher."
            )

    def _signal_conditions(
        self, length: int, rng: PerSampleGenerator, signal: Tensor | None, known: Known | None
    ) -> Conditions:
        """The low-fidelity signal and the known part of the output, where the stage has them.

        Raises:
            InputError: if the stage refines a signal and none was given.
        """
        conditions = Conditions()
        if self.conditioner is not None:
            if signal is None:
                raise InputError(
                    f"{type(self).__name__} refines a signal; give it the output of the previous stage."
                )
            level, schedule = self.sampling.conditioning_noise, self.objective.schedule
            conditions = self.conditioner.for_sampling(signal, length, level, schedule, rng)
        if known is not None and self.network.known is not None:
            regions = known_input(known.x0.expand(len(rng), -1, -1), known.mask)
            conditions = dataclasses.replace(conditions, known=regions)
        return conditions

    def starting_point(self, noise: Tensor, conditions: Conditions) -> Tensor:
        """Where sampling starts: noise, or the stacked waveform noised to the start time.

        The late start is that of SDEdit (Meng et al. 2022).

        Raises:
            InputError: if ``sampling.start_time`` is below 1 and there is no stacked waveform.
        """
        time = self.sampling.start_time
        if time == 1:
            return noise
        if conditions.stacked is None:
            raise InputError(
                f"sampling.start_time is {time:g}, but {type(self).__name__} has no stacked waveform to "
                "start from; leave it at 1."
            )
        start = torch.full((len(noise),), time, device=noise.device)
        return self.objective.schedule.at(start).diffuse(conditions.stacked, noise)

    def diffusion_settings(self) -> dict[str, str | float]:
        """Prediction, noise schedule and scaling of the target."""
        schedule = self.objective.schedule
        parameters = ", ".join(f"{name}={value}" for name, value in sorted(vars(schedule).items()))
        return {
            "prediction": self.objective.prediction,
            "schedule": f"{type(schedule).__name__}({parameters})",
            "scale": self.scale,
            "emphasis": self.emphasis,
        }

    def _project_onto_condition(self, audio: Tensor, signal: Tensor) -> Tensor:
        """Audio projected onto the set of signals that the low-fidelity signal allows, window by window."""
        assert self.conditioner is not None
        if not self.sampling.consistency_iterations:
            return audio
        conditioner = self.conditioner
        # Samples of the audio and of the signal that cover the same time.
        audio_step, signal_step = conditioner.rate_ratio

        def project(start: int, stop: int) -> Tensor:
            window = audio[..., start:stop]
            signal_start = start // audio_step * signal_step
            signal_stop = math.ceil(stop * signal_step / audio_step)
            for _ in range(self.sampling.consistency_iterations):
                window = conditioner.project(window, signal[..., signal_start:signal_stop])
            return window

        return piecewise(project, audio.shape[-1], self.sample_rate, audio_step)

    def _denoise(
        self,
        x_t: Tensor,
        time: float,
        end: float | None = None,
        *,
        conditions: Conditions,
        unconditional: Conditions,
    ) -> Denoised:
        """Guided and clipped estimate of x_0; in overlapping windows if the stage was trained on crops.

        A distilled stage gets the time at which its step ends, and computes guidance in the same pass.
        """
        length = x_t.shape[-1]
        t = torch.full((len(x_t),), time, device=x_t.device)
        guidance = self.sampling.guidance
        weak = self._weak[0].to(x_t.device) if self._weak else None
        has_branches = self.text is not None or weak is not None
        is_guided = has_branches and guidance.acts_at(time) and end is None
        if end is not None:
            conditions = self._with_step(conditions, t, end)

        def estimate(start: int, stop: int) -> Tensor:
            x = x_t[..., start:stop]
            window_conditions = conditions.slice(start, stop, self.network.total_stride)
            if not is_guided:
                network = functools.partial(self.network, conditions=window_conditions)
                return self.objective.denoise(network, x, t).x0
            if weak is not None:
                estimates = [
                    self.objective.denoise(functools.partial(part, conditions=window_conditions), x, t).x0
                    for part in (self.network, weak)
                ]
                return guide(estimates[0], estimates[1], guidance.scale, guidance.rescale)
            # One pass computes both branches of guidance: the conditional half comes first.
            both = window_conditions.cat(unconditional.slice(start, stop, self.network.total_stride))
            network = functools.partial(self.network, conditions=both)
            x0 = self.objective.denoise(network, torch.cat([x, x]), torch.cat([t, t])).x0
            conditional_x0, unconditional_x0 = x0.chunk(2)
            return guide(conditional_x0, unconditional_x0, guidance.scale, guidance.rescale)

        window = length if self.conditioner is None else round(self.seconds * self.output_rate)
        overlap = round(window * self.sampling.overlap)
        x0 = overlapped(estimate, length, window, overlap, self.network.total_stride)
        if not torch.isfinite(x0).all():
            raise InputError(
                f"{type(self).__name__}: the network's output is NaN or infinite at time {time:.3f}; use "
                "other weights, or --trainer.precision 32-true."
            )
        level = self.objective.schedule.at(t)
        # The x0 of a flow map that does not lead to data is no estimate of data, and is not clipped.
        return Denoised.from_x0(x0, x_t, level) if end else finish(x0, x_t, level, guidance)

    def _with_step(self, conditions: Conditions, t: Tensor, end: float) -> Conditions:
        """Conditions with the step and guidance scale of a distilled network.

        Raises:
            InputError: if the network is not distilled, or not for this guidance scale.
        """
        scale = self.sampling.guidance.scale
        if self.network.step is None:
            raise InputError(
                f"sampling.method few needs a distilled {type(self).__name__}, and this one is not; choose "
                "another method."
            )
        if self.network.guidance is None:
            if scale != 1:
                raise InputError(
                    f"sampling.guidance.scale is {scale:g}, but this {type(self).__name__} is distilled for "
                    "one scale; leave guidance out, or use its teacher."
                )
            return conditions.with_step(t - end)
        return conditions.with_step(t - end, torch.full_like(t, scale))


def numbers_of_prompt(prompt: str) -> MusicNumbers:
    """Tempo and key that a prompt names; the clip begins on a beat."""
    attributes = parse_prompt(prompt)
    return MusicNumbers(attributes.tempo, attributes.key, None if attributes.tempo is None else 0.0)
