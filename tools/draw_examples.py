"""Draw the log-mel spectrograms of the example clips for README: docs/examples.png.

python tools/draw_examples.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from PIL import Image

from lightning_n2m.audio.io import read
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample

ROOT = Path(__file__).resolve().parents[1]
CLIPS = {
    "waltz": "a slow waltz for solo piano",
    "ska": "An upbeat ska track with trumpet, organ, electric bass and drums at 140 bpm.",
    "ambient": "calm ambient synth pads, no drums",
    "bluegrass": "A fast bluegrass track with banjo, fiddle, acoustic guitar and double bass.",
}


def main() -> None:
    """One row of log-mels, 10 s each."""
    figure, axes = plt.subplots(1, len(CLIPS), figsize=(14, 2.6), layout="constrained", sharey=True)
    settings = MelSettings()
    for axis, (name, prompt) in zip(axes, CLIPS.items(), strict=True):
        clip = read(ROOT / "pretrained" / "examples" / "spectrogram" / f"{name}.ogg")
        audio = resample(clip.samples, clip.sample_rate, settings.sample_rate)
        axis.imshow(
            log_mel(audio[None], settings)[0],
            origin="lower",
            aspect="auto",
            cmap="magma",
            extent=(0, 10, 0, 80),
        )
        axis.set_title(prompt if len(prompt) < 36 else prompt[:33] + "...", fontsize=9)
        axis.set_xlabel("seconds")
    axes[0].set_ylabel("mel channel")
    path = ROOT / "docs" / "examples.png"
    figure.savefig(path, dpi=80)
    Image.open(path).convert("RGB").quantize(96).save(path, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
