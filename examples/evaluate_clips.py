"""Compare a folder of clips with a folder of reference music.

python examples/evaluate_clips.py GENERATED_FOLDER REFERENCE_FOLDER [--embedder musicnn] [--seconds 10]

Prints the Fréchet audio distance, with two bounds for comparison: one half of the reference against the other
half, and white noise against the reference.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lightning_n2m.audio.io import read, to_mono
from lightning_n2m.audio.resample import resample
from lightning_n2m.evaluation.embedders import load_embedder
from lightning_n2m.evaluation.frechet import frechet_distance

SAMPLE_RATE = 16_000
FORMATS = {".flac", ".ogg", ".opus", ".wav", ".mp3"}


def load_clips(folder: Path, seconds: float) -> Tensor:
    """The first ``seconds`` of all sound files that are long enough, ``(n, 1, t)`` at 16 kHz."""
    length = round(seconds * SAMPLE_RATE)
    clips = []
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in FORMATS:
            audio = read(path)
            mono = resample(to_mono(audio.samples), audio.sample_rate, SAMPLE_RATE)
            if mono.shape[-1] >= length:
                clips.append(mono[..., :length])
    if len(clips) < 2:
        raise SystemExit(f"{folder} needs two sound files of {seconds:g} s or more; shorten --seconds.")
    return torch.stack(clips)


def main(arguments: list[str] | None = None) -> float:
    """Print distance and tags; return the distance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("generated", type=Path)
    parser.add_argument("reference", type=Path)
    parser.add_argument("--embedder", default="musicnn", help="musicnn, aisfx, vggish:FILE or a joint model")
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args(arguments)

    generated = load_clips(options.generated, options.seconds)
    reference = load_clips(options.reference, options.seconds)
    embedder = load_embedder(options.embedder)

    def embed(audio: Tensor) -> Tensor:
        """Embeddings ``(clips, patches, dimension)``, one clip at a time to keep memory small."""
        return torch.cat([embedder.embed(clip, SAMPLE_RATE) for clip in audio.split(1)])

    embedded = embed(reference)
    distance = frechet_distance(embed(generated), embedded)
    noise = 0.1 * torch.randn(reference.shape, generator=torch.Generator().manual_seed(0))
    # Without bootstrap (draws=0): the bounds only give the scale.
    halves = frechet_distance(embedded[::2], embedded[1::2], draws=0).value
    upper = frechet_distance(embed(noise), embedded, draws=0).value
    print(f"Fréchet distance ({embedder.name}), {len(generated)} to {len(reference)}: {distance.value:.4g}")
    print(f"95 % interval {distance.low:.4g} to {distance.high:.4g}; patches: {distance.n}")
    print(f"bounds: halves of the reference {halves:.4g}, white noise {upper:.4g}")
    return distance.value


if __name__ == "__main__":
    main()
