"""Generate clips from prompts and write them as sound files.

python examples/generate.py "a slow waltz" "techno" [--seconds 10] [--seed 0] [--output outputs]
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_n2m import from_pretrained


def main(arguments: list[str] | None = None) -> None:
    """Generate one clip per prompt."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prompts", nargs="+")
    parser.add_argument("--model", default="spectrogram", help="spectrogram, waveform, or a cascade config")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--negative", default="", help="negative prompt")
    parser.add_argument("--output", type=Path, default=Path("outputs"))
    options = parser.parse_args(arguments)

    model = from_pretrained(options.model)
    options.output.mkdir(parents=True, exist_ok=True)
    # One call per prompt keeps memory small; a list of prompts is one batch.
    for number, prompt in enumerate(options.prompts):
        clip = model.generate(prompt, seconds=options.seconds, seed=options.seed, negative=options.negative)
        path = options.output / f"{number:03d}.wav"
        clip.save(path)
        print(f"{path}: {prompt}")


if __name__ == "__main__":
    main()
