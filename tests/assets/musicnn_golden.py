"""Writes musicnn_golden.json, what the original musicnn hears, by TensorFlow; run once, elsewhere.

python -m venv tf && tf/bin/pip install tensorflow-cpu==2.21.0 tf-keras==2.21.0 librosa==0.11.0 soxr
tf/bin/pip install --no-deps musicnn==0.1.0
tf/bin/python tests/assets/musicnn_golden.py
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import soundfile
import soxr

HERE = Path(__file__).parent

from musicnn.extractor import extractor  # noqa: E402  (it imports TensorFlow, which reads the environment)

# Its 16-bit spectrograms overflow to infinity in loud music, and what it then hears is arbitrary.
np.float16 = np.float32

golden = {}
for name in ("tango", "techno"):
    # 6.2 s from the middle, two patches; 16 kHz like the network, so that its own resampling does nothing.
    samples, _ = soundfile.read(HERE / f"clips/{name}.ogg", frames=148_800, start=288_000, dtype="float32")
    samples = soxr.resample(samples, 24_000, 16_000, quality="VHQ")
    with tempfile.NamedTemporaryFile(suffix=".wav") as file:
        soundfile.write(file.name, samples, 16_000, subtype="FLOAT")
        for corpus in ("MTT", "MSD"):
            tags, labels, features = extractor(file.name, model=f"{corpus}_musicnn")
            golden[f"{name} {corpus}"] = {
                "labels": list(labels),
                "probabilities": [[round(float(x), 6) for x in row] for row in tags],
                # Of the first patch; the original returns another layer for those that follow.
                "embedding": [round(float(x), 4) for x in features["penultimate"][0]],
            }
(HERE / "musicnn_golden.json").write_text(
    json.dumps(golden, separators=(",", ":")).replace('"t', '\n"t') + "\n"
)
