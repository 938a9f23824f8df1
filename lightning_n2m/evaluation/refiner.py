"""Evaluation of a refiner on ground-truth input, beside a baseline without a network."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lightning_n2m.audio.io import read, write
from lightning_n2m.audio.mel import griffin_lim
from lightning_n2m.audio.resample import fft_upsample
from lightning_n2m.evaluation.embedders import Embedder
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.evaluation.kernel_distance import KernelAudioDistance
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.reference_embeddings import RATE
from lightning_n2m.evaluation.spectral_lines import MINIMUM_CLIPS, clip_spectrum, largest_line
from lightning_n2m.evaluation.stft import stft_distance
from lightning_n2m.evaluation.tempo_key import kept_keys
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.cascaders import SpectrogramVocoder

BATCH = 8


@dataclass(frozen=True)
class RefinerClips:
    """Reference clips that a refiner is evaluated on.

    Args:
        keys: Names of the clips.
        prompts: Prompts of the clips, for a refiner that takes text.
        audio: Audio at the stage's rate, ``(n, 1, t)``.
    """

    keys: Sequence[str]
    prompts: Sequence[str]
    audio: Tensor


def baseline(stage: Stage, signal: Tensor, length: int) -> Tensor:
    """Result without a network: phases by Griffin and Lim, or FFT interpolation; ``(b, 1, length)``."""
    if isinstance(stage, SpectrogramVocoder):
        return griffin_lim(signal, stage.mel)[..., :length]
    return fft_upsample(signal, length)


def evaluate_refiner(
    stage: Stage,
    clips: RefinerClips,
    folder: Path,
    embedders: Sequence[Embedder],
    seed: int,
    report: Callable[[int, int], None] | None = None,
) -> list[MetricValue]:
    """Distances between a refiner's output on ground-truth input and the clips that it should reproduce.

    Args:
        stage: The refiner.
        clips: The reference clips.
        folder: Folder of its output; existing files are not generated again.
        embedders: Embedders for Fréchet and kernel distances.
        seed: Seed of the noise.
        report: Called after each batch with the number of clips done and their total.

    Returns:
        Metric values, whose command is empty.
    """
    outputs, baselines = _refine(stage, clips, folder, seed, report)
    values = _measure(stage, clips.audio, outputs, baselines, embedders)
    return [value for value in values if not math.isnan(value.value)]


def _refine(
    stage: Stage,
    clips: RefinerClips,
    folder: Path,
    seed: int,
    report: Callable[[int, int], None] | None,
) -> tuple[Tensor, Tensor]:
    """Output of the stage and of the baseline, ``(n, 1, t)`` each."""
    assert stage.conditioner is not None
    folder.mkdir(parents=True, exist_ok=True)
    rate, name, count = stage.sample_rate, type(stage).__name__, len(clips.keys)
    outputs, baselines = [], []
    for start in range(0, count, BATCH):
        part = slice(start, start + BATCH)
        audio = clips.audio[part]
        signal = stage.conditioner.degrade(audio.to(stage.device))
        baselines.append(baseline(stage, signal, audio.shape[-1]).float().cpu())
        paths = [folder / f"{key}.flac" for key in clips.keys[part]]
        if not all(path.is_file() for path in paths):
            # The seed string is part of the results of earlier versions.
            rng = PerSampleGenerator(f"{seed} {name} alone", range(start, start + len(audio)), stage.device)
            output = stage.generate(list(clips.prompts[part]), audio.shape[-1] / rate, rng, signal)
            for path, clip in zip(paths, output.float().cpu(), strict=True):
                write(path, clip, rate)
        # Files are read back even if they are new, so that a rerun measures the same samples.
        outputs.append(torch.stack([read(path).samples for path in paths]))
        if report is not None:
            report(min(start + BATCH, count), count)
    return torch.cat(outputs), torch.cat(baselines)


def _measure(
    stage: Stage, references: Tensor, outputs: Tensor, baselines: Tensor, embedders: Sequence[Embedder]
) -> Iterator[MetricValue]:
    rate, n = stage.sample_rate, len(references)
    name = f"{type(stage).__name__} on ground-truth input"
    method = "Griffin and Lim" if isinstance(stage, SpectrogramVocoder) else "FFT upsampling"
    value, upper = (float(stft_distance(x, references).mean()) for x in (outputs, baselines))
    evaluator = f"multi-resolution STFT, {rate} Hz; upper bound: {method}"
    yield MetricValue(f"{name}, STFT distance", value, 0.0, upper, False, n, evaluator)
    for embedder in embedders:
        embed = partial(_embed, embedder=embedder, rate=rate, device=stage.device)
        embedded = embed(references)
        near, far = (frechet_distance(embed(x), embedded, 0) for x in (outputs, baselines))
        few = "; few patches for its dimension" if near.has_few_patches else ""
        evaluator = f"{embedder.name}, {rate} Hz, to the same references; upper bound: {method}{few}"
        yield MetricValue(
            f"{name}, FAD {embedder.name}", near.value, 0.0, far.value, False, near.n, evaluator
        )
        if n > 1:
            distance = KernelAudioDistance(embedded)
            value, upper = (distance(embed(x), paired=True) for x in (outputs, baselines))
            yield MetricValue(f"{name}, KAD {embedder.name}", value, 0.0, upper, False, n, evaluator)
    # Super-resolution adds nothing below 8 kHz, where keys are.
    if rate <= RATE and n > 1 and importlib.util.find_spec("librosa") is not None:
        kept, chance = kept_keys(list(outputs), list(references), rate)
        evaluator = "key by librosa, as in the reference; lower bound: in another reference"
        yield MetricValue(f"{name}, key kept", kept, chance, 1.0, True, n, evaluator)
    if n < MINIMUM_CLIPS:
        return
    # Super-resolution adds the band that the evaluation of the cascade, at 16 kHz, does not contain.
    line, own = (
        largest_line(torch.cat([clip_spectrum(x) for x in audio.split(BATCH)]), rate)
        for audio in (outputs, references)
    )
    evaluator = (
        f"median spectrum of all clips, {rate} Hz, above its neighbourhood: at {line.frequency:.0f} Hz; "
        f"lower bound: references, at {own.frequency:.0f} Hz"
    )
    yield MetricValue(
        f"{name}, largest spectral line, dB", line.excess, own.excess, 40.0, False, n, evaluator
    )


def _embed(audio: Tensor, embedder: Embedder, rate: int, device: torch.device) -> Tensor:
    return torch.cat([embedder.embed(x.to(device), rate).cpu() for x in audio.split(BATCH)])
