"""Train one stage on a folder of music, and export it.

python examples/train_stage.py MUSIC_FOLDER WORK_FOLDER [--stage super_resolution] [--steps 1000]

The same as the commands in docs/quick_start.md, from Python. Interrupted, it resumes where it stopped.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from data_pipeline.__main__ import main as n2m_data
from lightning_n2m.cli.main import main as n2m

RECIPES = Path(__file__).resolve().parents[1] / "configs" / "starter"


def main(arguments: list[str] | None = None) -> None:
    """Run all steps; each one skips what it finds complete."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("music", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--stage", default="super_resolution", help="a recipe in configs/starter")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--validation", type=float, default=0.1, help="share of tracks for validation")
    options, more = parser.parse_known_args(arguments)
    manifest, shards, run = options.work / "manifest.jsonl", options.work / "shards", options.work / "run"

    # 1. List the usable tracks, and cut them into clips of 30 s.
    _check(n2m_data(["manifest", "--source", str(options.music), "--output", str(manifest)]))
    splits = ["--validation", str(options.validation), "--test", "0"]
    _check(n2m_data(["shard", "--manifest", str(manifest), "--output", str(shards), *splits]))

    # 2. Train. `--ckpt_path last` resumes where a checkpoint exists.
    n2m(
        [
            "fit",
            *("-c", str(RECIPES / f"{options.stage}.yaml")),
            *("--data.shards", str(shards)),
            *("--trainer.default_root_dir", str(run)),
            *("--trainer.max_steps", str(options.steps)),
            *("--model.optimisation.total_steps", str(options.steps)),
            *("--trainer.val_check_interval", str(max(1, options.steps // 5))),
            *("--ckpt_path", "last"),
            *more,  # further options of `fit`
        ]
    )

    # 3. Averaged weights and config as one folder, for `n2m predict` and load_stage.
    n2m(["export", str(run), str(options.work / options.stage)])


def _check(exit_code: int) -> None:
    """Stop after a command that failed; it has printed the reason."""
    if exit_code:
        raise SystemExit(exit_code)


if __name__ == "__main__":
    main()
