"""Edited music at its seams: `python -m benchmarks.edit --shards SHARDS --trained BUNDLE --output FOLDER`.

Continues held-out rendered pieces, whose tempo and key are known exactly, in four ways: by a generator that
trained with known regions, by the sampler alone, by the sampler with corrections, and by a cross-fade into an
independent clip of the same prompt. The real continuation is the upper bound. Writes a table and the audio.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.api import GeneratedAudio, TextToMusic, from_pretrained
from lightning_n2m.audio.io import read, write
from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.evaluation.edit_metrics import (
    SEAM_SECONDS,
    beat_phase_error,
    chroma_correlation,
    loudness_jump,
    seam_window,
    similarity,
)
from lightning_n2m.evaluation.embedders import aisfx_embedder
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.evaluation.kernel_distance import KernelAudioDistance
from lightning_n2m.storage import write_atomic

RATE = 16_000  # of all audio: without super-resolution
FADE = 0.5  # seconds of the baseline's cross-fade
ON_BEAT = 0.03  # seconds of a phase error that counts as in time
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def cross_fade(recording: Tensor, clip: Tensor, rate: int) -> Tensor:
    """The recording and then the clip, faded into each other over `FADE` seconds before its end."""
    length = round(FADE * rate)
    ramp = (torch.arange(length) + 0.5) / length
    mixed = torch.lerp(recording[:, -length:], clip[:, :length], ramp)
    return torch.cat([recording[:, :-length], mixed, clip[:, length:]], dim=1)


def seam_metrics(audio: Tensor, rate: int, seam: float, truth: dict[str, Any]) -> dict[str, float]:
    """Metrics of one continuation; the beat only where there are drums."""
    middle = round(seam * rate)
    values = {
        "loudness_jump_db": loudness_jump(audio, rate, seam),
        "chroma_correlation": chroma_correlation(audio[:, :middle], audio[:, middle:], rate),
    }
    if truth.get("drums"):
        values["beat_phase_error_s"] = beat_phase_error(audio, rate, truth["tempo_bpm"], seam)
    return values


def summary(clips: list[Tensor], metrics: list[dict[str, float]], distance: float) -> dict[str, float]:
    """Means over the pieces, and shares of those that are in time."""
    phases = [values["beat_phase_error_s"] for values in metrics if "beat_phase_error_s" in values]
    return {
        "pieces": len(clips),
        "seam_kad": distance,
        "loudness_jump_db": statistics.mean(values["loudness_jump_db"] for values in metrics),
        "chroma_correlation": statistics.mean(values["chroma_correlation"] for values in metrics),
        "pieces_with_drums": len(phases),
        "in_time": statistics.mean(error < ON_BEAT for error in phases) if phases else float("nan"),
        "beat_phase_error_s": statistics.median(phases) if phases else float("nan"),
    }


def embed_windows(windows: list[Tensor], rate: int) -> Tensor:
    """One embedding for each window, ``(n, 1, dimension)``."""
    embedded = aisfx_embedder().embed(torch.stack(windows), rate)
    return embedded[:, :1]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--trained", required=True, help="generator that trained with known regions")
    parser.add_argument("--output", required=True, type=Path)
    parser.add_argument("--pieces", type=int, default=12)
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="of the recording, and of its continuation"
    )
    parser.add_argument("--num_steps", type=int, default=25)
    parser.add_argument("--corrections", type=int, default=0, help="adds the sampler with corrections")
    parser.add_argument("--guidance", type=float, help="scale of all ways; the generator's own if none")
    parser.add_argument(
        "--for_choices", action="store_true", help="pieces to choose settings on, not those that are reported"
    )
    parser.add_argument("--variations", type=int, default=2, help="pieces that are varied")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    seconds = options.seconds

    @functools.cache
    def model(folder: str | None) -> TextToMusic:
        """A cascade, loaded when a clip of it is missing."""
        settings = {"num_steps": options.num_steps, "guidance": options.guidance, "folder": folder}
        generator = {name: value for name, value in settings.items() if value is not None}
        return from_pretrained(generator=generator, super_resolution=None)

    evaluation_set = Starter(
        options.shards, 4 * options.pieces, domain="rendered", for_choices=options.for_choices
    )
    pieces = held_out(evaluation_set, options.pieces, RATE, 2 * seconds)
    ways: dict[str, Callable[[EvaluationItem, GeneratedAudio], Tensor]] = {
        "trained": lambda item, start: continued(model(options.trained), item, start, seconds),
        "sampler": lambda item, start: continued(model(None), item, start, seconds),
        "cross-fade": lambda item, start: cross_fade(
            torch.from_numpy(start.samples),
            torch.from_numpy(model(None).generate(item.prompt, seconds=seconds + FADE).samples),
            RATE,
        ),
    }
    if options.corrections:
        ways["sampler with corrections"] = lambda item, start: continued(
            model(None), item, start, seconds, corrections=options.corrections
        )
    outputs: dict[str, list[Tensor]] = {"recording": [audio for _, audio in pieces]}
    outputs |= {way: [] for way in ways}
    for number, (item, audio) in enumerate(pieces):
        write(options.output / f"recording-{item.key}.flac", audio, RATE)
        for way, function in ways.items():
            path = options.output / f"{way.replace(' ', '-')}-{item.key}.flac"
            if not path.is_file():
                start = GeneratedAudio(audio[:, : round(seconds * RATE)].numpy(), RATE)
                write(path, function(item, start), RATE)
            outputs[way].append(read(path).samples)
        print(f"{number + 1} of {len(pieces)} pieces", flush=True)
    # Windows inside of the recordings, away from the time of the seam.
    inside = [
        seam_window(audio, RATE, place)
        for _, audio in pieces
        for place in (SEAM_SECONDS / 2, 2 * seconds - SEAM_SECONDS / 2)
    ]
    reference = KernelAudioDistance(embed_windows(inside, RATE))
    table: dict[str, dict[str, float]] = {}
    for way, clips in outputs.items():
        windows = embed_windows([seam_window(audio, RATE, seconds) for audio in clips], RATE)
        metrics = [
            seam_metrics(audio, RATE, seconds, item.truth)
            for audio, (item, _) in zip(clips, pieces, strict=True)
        ]
        table[way] = summary(clips, metrics, reference(windows))
    if options.variations:
        table["variation"] = variation(model(None), pieces[: options.variations], seconds)
    print(json.dumps(table, indent=1))
    write_atomic(options.output / "edit.json", json.dumps(table, indent=1))


def held_out(
    evaluation_set: Starter, count: int, rate: int, seconds: float
) -> list[tuple[EvaluationItem, Tensor]]:
    """Rendered held-out clips with their audio, those with drums first."""
    items = sorted(evaluation_set.items(), key=lambda item: not item.truth.get("drums"))[:count]
    audio = dict(evaluation_set.references(items, rate))
    return [(item, audio[item.key][:, : round(seconds * rate)]) for item in items]


def continued(
    model: TextToMusic, item: EvaluationItem, start: GeneratedAudio, seconds: float, **more: Any
) -> Tensor:
    """The recording and its continuation."""
    return torch.from_numpy(model.generate(item.prompt, audio=start, extend=seconds, **more).samples)


def variation(
    model: TextToMusic, pieces: list[tuple[EvaluationItem, Tensor]], seconds: float
) -> dict[str, float]:
    """Mean similarity of variations to their recordings, by strength."""
    values: dict[str, list[float]] = {}
    for item, audio in pieces:
        start = audio[:, : round(seconds * model.sample_rate)]
        recording = GeneratedAudio(start.numpy(), model.sample_rate)
        for strength in STRENGTHS:
            varied = model.generate(item.prompt, audio=recording, strength=strength)
            value = similarity(start, torch.from_numpy(varied.samples), model.sample_rate)
            values.setdefault(f"{strength:g}", []).append(value)
    return {strength: statistics.mean(items) for strength, items in values.items()}


if __name__ == "__main__":
    main()
