"""Generate the first eight prompts of the evaluation by both routes, for ears and eyes.

python tools/evaluation_examples.py [--shards build/starter/shards] [--precision 32-true]

Clips of seed 0 at 24 kHz go to ``pretrained/examples/ROUTE/1.ogg`` to ``8.ogg``, their spectrograms beside
those of the reference recordings to ``pretrained/examples/ROUTE.jpg``; the table of the card is printed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure
from torch import Tensor

from lightning_n2m.audio.io import encode, read
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.evaluation.reference_embeddings import RATE, middle
from lightning_n2m.storage import write_atomic

ROOT = Path(__file__).resolve().parents[1]
OUTPUT = ROOT / "pretrained" / "examples"
WORK = ROOT / "build" / "examples"
ROUTES = ("spectrogram", "waveform")
COUNT = 8
COMPRESSION = 0.8  # about 35 kbit/s


def main() -> None:
    """Generate what is missing, encode it, draw it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shards", default=str(ROOT / "build/starter/shards"))
    parser.add_argument("--precision", default="32-true", help="of Lightning's trainer: bf16-mixed for AMX")
    options = parser.parse_args()
    source = Starter(options.shards, COUNT)
    items = source.items()
    prompts = [" ".join(item.prompt.split()) for item in items]
    references = dict(source.references(items, RATE))
    real = [middle(references[item.key], RATE, source.seconds) for item in items]
    for route in ROUTES:
        clips = generate(route, prompts, source.seconds, options.precision)
        for number, path in enumerate(clips, 1):
            clip = read(path)
            data = encode(clip.samples, clip.sample_rate, "OGG", "VORBIS", COMPRESSION)
            write_atomic(OUTPUT / route / f"{number}.ogg", data)
        draw(route, prompts, [load(path) for path in clips], real)
    print("| prompt | " + " | ".join(f"{route} route" for route in ROUTES) + " |")
    print("|---" * (1 + len(ROUTES)) + "|")
    for number, prompt in enumerate(prompts, 1):
        print(f"| {prompt} | " + " | ".join(f"[Ogg](examples/{r}/{number}.ogg)" for r in ROUTES) + " |")


def generate(route: str, prompts: list[str], seconds: float, precision: str) -> list[Path]:
    """Files of the clips, in the order of the prompts; existing ones of the same weights are kept."""
    WORK.mkdir(parents=True, exist_ok=True)
    write_atomic(WORK / "prompts.txt", "\n".join(prompts) + "\n")
    folder = WORK / route
    command: list[str | Path] = [
        sys.executable, "-m", "lightning_n2m", "predict", "-c", f"configs/cascade/{route}.yaml",
        f"--data.file={WORK / 'prompts.txt'}", f"--model.seconds={seconds}", "--model.seed=0",
        f"--output.folder={folder}", "--output.format=flac",
        f"--trainer.precision={precision}",
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)
    lines = (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines()
    files = {record["prompt"]: folder / record["file"] for record in map(json.loads, lines)}  # the last wins
    return [files[prompt] for prompt in prompts]


def load(path: Path) -> Tensor:
    """A clip at the rate of the references."""
    clip = read(path)
    return resample(clip.samples, clip.sample_rate, RATE)


def draw(route: str, prompts: list[str], clips: list[Tensor], real: list[Tensor]) -> None:
    """Log-mels of 0 to 8 kHz, generated on the left, reference on the right."""
    figure = Figure(figsize=(12, 1.5 * len(clips)), layout="constrained")
    rows = figure.subplots(len(clips), 2, squeeze=False)
    settings = MelSettings()
    for row, prompt, *pair in zip(rows, prompts, clips, real, strict=True):
        for panel, audio in zip(row, pair, strict=True):
            mel = log_mel(audio[None], settings)[0].numpy()
            panel.imshow(mel, origin="lower", aspect="auto", vmin=-1, vmax=1)
            panel.set(xticks=[], yticks=[])
        row[0].set_title(prompt[:90], fontsize=8, loc="left")
    figure.savefig(OUTPUT / f"{route}.jpg", dpi=70, pil_kwargs={"quality": 70})


if __name__ == "__main__":
    main()
