"""An adapter for a style that the starter lacks: `python -m benchmarks.style --shards S --output FOLDER`.

The style is the FM synthesis of an OPL3 sound chip, a sound font that no piece of the starter's corpus has.
16 pieces train an adapter with the commands of docs/adapters.md; other pieces are the reference of
`n2m test`, without an adapter and at strengths 0.5 and 1. Prompts of the starter's validation split, never
those of its evaluation, show what the adapter costs elsewhere. Finished steps are not repeated.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from data_pipeline import starter
from data_pipeline.starter_corpus import arrangement, debian
from lightning_n2m.api import from_pretrained
from lightning_n2m.audio.io import read, write
from lightning_n2m.evaluation.evaluation_sets import Starter
from lightning_n2m.evaluation.tagger import predict_tags, tag_auc
from lightning_n2m.storage import write_atomic

ROOT = Path(__file__).resolve().parents[1]
FONT = "OPL3"
TRAINING, VALIDATION, HELD_OUT = 16, 1, 24  # pieces of 30 s
CLIPS = 32  # prompts of an evaluation, at most
SECONDS = 10.24
STRENGTHS = (0.0, 0.5, 1.0)
OF_STYLE = (
    "KAD aisfx",
    "FAD aisfx",
    "KAD musicnn-MTT",
    "FAD musicnn-MTT",
    "clips that repeat training music",
)


def n2m(*arguments: str | Path, module: str = "lightning_n2m") -> None:
    """Run a command of the project."""
    subprocess.run([sys.executable, "-m", module, *map(str, arguments)], cwd=ROOT, check=True)


def render(folder: Path) -> Path:
    """Render the pieces of the style; returns their metadata."""
    metadata = folder / "metadata.jsonl"
    if metadata.is_file():
        return metadata
    folder.mkdir(parents=True, exist_ok=True)
    splits = ["train"] * TRAINING + ["validation"] * VALIDATION + ["test"] * HELD_OUT
    lines = []
    for number, split in zip(_pieces(), splits, strict=False):
        unit = starter.Unit(0, number, str(folder), str(debian.cache_folder()), edition=2)
        if not unit.audio.is_file():
            starter.render(unit)
        facts = json.loads(unit.facts.read_text(encoding="utf-8")) | {"split": split}
        lines.append(json.dumps({"path": unit.audio.name, **facts}, sort_keys=True))
    write_atomic(metadata, "\n".join(lines) + "\n")
    return metadata


def _pieces() -> Iterator[int]:
    """Numbers of pieces of the second edition with the style's sound font and no recorded loop."""
    for number in itertools.count():
        plan = arrangement.plan(0, number, edition=2)
        if plan.sound_font == FONT and not plan.drum_loop and not plan.drum_kit:
            yield number


def train(folder: Path) -> Path:
    """Shards of the style and its adapter, by the commands of docs/adapters.md."""
    adapter = folder / "adapter"
    if (adapter / "config.yaml").is_file():
        return adapter
    music, shards, manifest = folder / "music", folder / "shards", folder / "manifest.jsonl"
    pipeline = "data_pipeline"
    source = ("--source", music, "--metadata", render(music))
    n2m("manifest", *source, "--output", manifest, module=pipeline)
    n2m(
        "shard", "--manifest", manifest, "--output", shards, "--derive", "mel", "--tracks_per_shard", 4,
        module=pipeline,
    )  # fmt: skip
    began = time.perf_counter()
    n2m(
        "fit", "-c", "configs/starter/spectrogram_generator.yaml", "--adapter", "configs/adapters/lora.yaml",
        "--weights", "pretrained/spectrogram_generator", "--data.shards", shards, "--data.batch_size", 8,
        "--data.validation_clips", 1, "--model.optimisation",
        "{learning_rate: 2.0e-3, warmup_steps: 30, total_steps: 800}", "--trainer.max_steps", 800,
        "--trainer.val_check_interval", 200, "--ema.decay", 0.99,
        "--trainer.default_root_dir", folder / "run", "--ckpt_path", "last",
    )  # fmt: skip
    write_atomic(folder / "seconds.json", json.dumps(time.perf_counter() - began))
    n2m("export", folder / "run", adapter)
    return adapter


def evaluate(folder: Path, shards: Path, adapter: Path, strength: float) -> dict[str, float]:
    """Metric values of the style's prompts by the spectrogram route with the adapter at a strength."""
    result = folder / "evaluation.json"
    if not result.is_file():
        adapters = f"[{{folder: {adapter}, strength: {strength}}}]"
        n2m(
            "test", "-c", "configs/cascade/spectrogram.yaml", f"--model.generator.adapters={adapters}",
            f"--data.evaluation_set.shards={shards}", f"--data.evaluation_set.clips={CLIPS}",
            "--data.evaluation_set.splits=[test]",
            f"--evaluation.folder={folder}", f"--evaluation.cache={folder.parent / 'cache'}",
            "--evaluation.refiner_clips=0", "--evaluation.one_seed_clips=0",
        )  # fmt: skip
    rows = json.loads(result.read_text(encoding="utf-8"))
    return {row["name"].removeprefix("spectrogram: "): row["value"] for row in rows}


def tag_score(folder: Path, shards: Path, adapter: Path, strength: float) -> float:
    """Mean AUC of the tags of other prompts, 16 kHz clips with the adapter at a strength."""
    prompts = [item.prompt for item in Starter(str(shards), CLIPS, for_choices=True).items()]
    model = from_pretrained(
        generator={"adapters": [{"folder": str(adapter), "strength": strength}]}, super_resolution=None
    )
    logits = []
    for number, prompt in enumerate(prompts):
        path = folder / f"prompt-{number:02d}-{strength:g}.flac"
        if not path.is_file():
            clip = model.generate(prompt, seconds=SECONDS, seed=number)
            write(path, torch.from_numpy(clip.samples), clip.sample_rate)
        audio = read(path)
        logits.append(predict_tags(audio.samples[None], audio.sample_rate).logits[0])
        print(f"strength {strength:g}: {number + 1} of {len(prompts)} prompts", flush=True)
    return tag_auc(prompts, torch.stack(logits)).mean


def markdown(values: dict[float, dict[str, float]]) -> str:
    """A table with a row for each metric and a column for each strength."""
    lines = ["| | " + " | ".join(f"strength {s:g}" for s in values) + " |", "|---" * (len(values) + 1) + "|"]
    for name in OF_STYLE:
        cells = [f"{column[name]:.3g}" for column in values.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run all steps and print a table, the scores of other prompts, and the time of the training."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True, type=Path, help="of the starter's corpus")
    parser.add_argument("--output", required=True, type=Path)
    options = parser.parse_args()
    folder, shards = options.output.resolve(), options.shards.resolve()
    adapter = train(folder)
    style = {
        strength: evaluate(folder / f"style-{strength:g}", folder / "shards", adapter, strength)
        for strength in STRENGTHS
    }
    prompts = folder / "prompts"
    prompts.mkdir(exist_ok=True)
    scores = {strength: tag_score(prompts, shards, adapter, strength) for strength in STRENGTHS[:2]}
    lines = [
        f"tags of other prompts, AUC at strength {name:g}: {score:.3f}" for name, score in scores.items()
    ]
    lines.append(f"training: {json.loads((folder / 'seconds.json').read_text()):.0f} s")
    text = markdown(style) + "\n" + "\n".join(lines) + "\n"
    write_atomic(folder / "style.md", text)
    print(text)


if __name__ == "__main__":
    main()
