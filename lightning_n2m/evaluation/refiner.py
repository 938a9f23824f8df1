"""A refiner judged by itself: on real low-fidelity input, beside the plain way to do its work."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from lightning_n2m.audio.io import read, write
from lightning_n2m.audio.mel import griffin_lim
from lightning_n2m.audio.resample import fft_upsample
from lightning_n2m.evaluation.embedders import Embedder
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.evaluation.metric import MetricValue
from lightning_n2m.evaluation.metric_suite import in_batches
from lightning_n2m.evaluation.stft import stft_distance
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.cascaders import SpectrogramVocoder

BATCH = 8


def plain(stage: Stage, signal: Tensor, length: int) -> Tensor:
    """What one would do without the stage: Griffin and Lim's phases, or interpolation; ``(b, 1, length)``."""
    if isinstance(stage, SpectrogramVocoder):
        return griffin_lim(signal, stage.mel)[..., :length]
    return fft_upsample(signal, length)


def evaluate_refiner(
    stage: Stage,
    keys: Sequence[str],
    prompts: Sequence[str],
    real: Tensor,
    folder: Path,
    embedders: Sequence[Embedder],
    seed: int,
    prefix: str,
    command: str,
    report: Callable[[int, int], None] | None = None,
) -> list[MetricValue]:
    """STFT distance and Fréchet distances of a refiner on real input, to the very clips it should give back.

    Args:
        stage: The refiner.
        keys: Names of the clips.
        prompts: Prompts of the clips, for a refiner that hears text.
        real: Real audio at the stage's rate, ``(n, 1, t)``.
        folder: Where its clips are kept; those that are there are not made again.
        embedders: For the Fréchet distances.
        seed: Seed of the noise.
        prefix: Begins the names of the figures.
        command: How to measure again.
        report: Called after each batch with clips done and clips in all.
    """
    assert stage.conditioner is not None
    folder.mkdir(parents=True, exist_ok=True)
    rate, name = stage.sample_rate, type(stage).__name__
    made, simple = [], []
    for start in range(0, len(keys), BATCH):
        part = slice(start, start + BATCH)
        audio = real[part]
        signal = stage.conditioner.degrade(audio.to(stage.device))
        simple.append(plain(stage, signal, audio.shape[-1]).float().cpu())
        paths = [folder / f"{key}.flac" for key in keys[part]]
        if not all(path.is_file() for path in paths):
            rng = PerSampleGenerator(f"{seed} {name} alone", range(start, start + len(audio)), stage.device)
            output = stage.generate(prompts[part], audio.shape[-1] / rate, rng, signal).float().cpu()
            for path, clip in zip(paths, output, strict=True):
                write(path, clip, rate)
        # Read back even what was just made: a rerun judges the very same samples.
        made.append(torch.stack([read(path).samples for path in paths]))
        if report is not None:
            report(min(start + BATCH, len(keys)), len(keys))
    ours, other = torch.cat(made), torch.cat(simple)
    baseline = "Griffin and Lim" if isinstance(stage, SpectrogramVocoder) else "FFT upsampling"
    distance, its = (float(stft_distance(x, real).mean()) for x in (ours, other))
    judge = f"multi-resolution STFT, {rate} Hz; ceiling: {baseline}"
    figures = [
        MetricValue(
            f"{prefix}{name} alone, STFT distance", distance, 0.0, its, False, len(keys), judge, command
        )
    ]
    for embedder in embedders:
        embed = partial(embedder.embed, sample_rate=rate)
        reference = in_batches(embed, real)
        near, far = (frechet_distance(in_batches(embed, x), reference, 0) for x in (ours, other))
        few = "; few patches for its dimension" if near.n < 2 * near.dimension else ""
        judge = f"{embedder.name}, {rate} Hz, to the same real clips; ceiling: {baseline}{few}"
        if not math.isnan(near.value):
            figures.append(
                MetricValue(
                    f"{prefix}{name} alone, FAD {embedder.name}",
                    near.value,
                    0.0,
                    far.value,
                    False,
                    near.n,
                    judge,
                    command,
                )
            )
    return figures
