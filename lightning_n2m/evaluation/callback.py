"""`test` of a cascade: writes what it generates, then evaluates it."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback

from lightning_n2m.audio.io import write
from lightning_n2m.cascade import Cascade
from lightning_n2m.data.evaluation_set import EvaluationSet
from lightning_n2m.data.prompts import Prompts
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.metric import merge_metrics
from lightning_n2m.mulan.joint import fingerprint
from lightning_n2m.stages.result import GeneratedClip
from lightning_n2m.storage import write_atomic


class EvaluationCallback(Callback):
    """The paper's evaluation protocol: 16 kHz, the middle 10 s, one clip per prompt (section 5.1).

    Clips are kept in ``FOLDER/generated``, so that an interrupted test generates only what is missing. Metric
    values are in ``FOLDER/evaluation.json``, the report in ``FOLDER/index.html``. Ranks share the prompts;
    the first one evaluates.

    Args:
        folder: Folder of clips and report; null for ``evaluation/`` and the cascade's route.
        cache: Folder of embeddings of reference recordings, which evaluations share.
        embedders: Embedders for Fréchet and kernel distances, beside the evaluating tagger: ``aisfx``,
            ``vggish:FILE``, or the location of a joint model.
        joint_models: Locations of joint models for text-audio similarity, beside the tagger's tags.
        refiner_clips: Number of references on which refiner and super-resolution are evaluated on
            ground-truth input; 0 for none.
        one_seed_clips: Number of prompts that are also generated from one noise, to compare their loudness;
            0 for none.
        merge_into: A JSON list that the metric values are merged into, by name.
    """

    def __init__(
        self,
        folder: str | None = None,
        cache: str = "build/cache",
        embedders: Sequence[str] = ("aisfx",),
        joint_models: Sequence[str] = (),
        refiner_clips: int = 50,
        one_seed_clips: int = 8,
        merge_into: str | None = None,
    ) -> None:
        self.folder, self.cache = folder, Path(cache)
        self.embedders, self.joint_models = tuple(embedders), tuple(joint_models)
        self.refiner_clips, self.one_seed_clips = refiner_clips, one_seed_clips
        self.merge_into = merge_into
        self.started = time.monotonic()

    def evaluation_folder(self, cascade: Cascade) -> Path:
        """The folder of this evaluation."""
        return Path(self.folder or f"evaluation/{cascade.route}")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Check the settings of existing clips, and store the current ones.

        Raises:
            InputError: if the folder holds clips of other weights or settings.
        """
        if not isinstance(pl_module, Cascade):
            return
        self.started = time.monotonic()
        folder = self.evaluation_folder(pl_module)
        settings, prompts = _settings(pl_module, _evaluation_set(trainer))
        stored = read_settings(folder / "settings.json")
        if stored is not None:
            stored_prompts = stored.pop("prompts")
            # More or fewer prompts are allowed, since the first ones stay the same.
            same_prompts = all(stored_prompts.get(key, prompt) == prompt for key, prompt in prompts.items())
            if stored != settings or not same_prompts:
                raise InputError(
                    f"{folder} holds clips of other weights or settings; give another --evaluation.folder, "
                    "or remove it."
                )
            prompts = stored_prompts | prompts
        # Every rank reads before the first one writes.
        trainer.strategy.barrier("evaluation settings")
        (folder / "generated").mkdir(parents=True, exist_ok=True)
        if trainer.is_global_zero:
            write_atomic(folder / "settings.json", json.dumps(settings | {"prompts": prompts}, indent=1))

    def on_test_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Remove prompts from the batch whose clips exist."""
        if isinstance(pl_module, Cascade):
            folder = self.evaluation_folder(pl_module) / "generated"
            batch[:] = [item for item in batch if not (folder / f"{item['key']}.flac").is_file()]

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the clips of one batch."""
        if isinstance(pl_module, Cascade):
            folder = self.evaluation_folder(pl_module) / "generated"
            clips: list[GeneratedClip] = outputs["generated"]
            for clip in clips:
                write(folder / f"{clip.name}.flac", clip.audio.float().cpu(), clip.sample_rate)
            if clips:
                total = trainer.num_test_batches[0]
                print(f"{folder}: batch {batch_idx + 1} of {total}", file=sys.stderr, flush=True)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate all clips, and write metric values and report."""
        if not isinstance(pl_module, Cascade):
            return
        trainer.strategy.barrier("generated clips")
        if not trainer.is_global_zero:
            return
        # Imported late: other commands need none of the evaluation models.
        from lightning_n2m.evaluation.evaluator import CascadeEvaluator, EvaluatorSettings

        folder = self.evaluation_folder(pl_module)
        settings = EvaluatorSettings(
            self.cache,
            self.embedders,
            self.joint_models,
            self.refiner_clips,
            self.one_seed_clips,
            _command(),
        )
        # Lightning tests in inference mode, in which probes cannot be fitted.
        with torch.inference_mode(False), torch.no_grad(), trainer.precision_plugin.forward_context():
            metrics = CascadeEvaluator(pl_module, _evaluation_set(trainer), folder, settings)()
        if self.merge_into is not None:
            merge_metrics(Path(self.merge_into), metrics)
        for row in metrics:
            known = (("lower bound", row.lower_bound), ("upper bound", row.upper_bound))
            bounds = "".join(f"{name} {value:.4g}, " for name, value in known if math.isfinite(value))
            bounds += f"n {row.n}"
            print(f"{row.name}: {row.value:.4g} ({bounds}; {row.evaluator})")
        print(f"{folder / 'index.html'} ({(time.monotonic() - self.started) / 60:.1f} minutes)")


def read_settings(path: Path) -> dict[str, Any] | None:
    """Read the settings that existing clips were generated with; none if there are none.

    Raises:
        InputError: if the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(settings, dict) or not isinstance(settings.get("prompts"), dict):
            raise TypeError("it has no prompts")
        return settings
    except (OSError, ValueError, TypeError, RecursionError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path} is damaged ({reason}); remove {path.parent} and test again.") from error


def _command() -> str:
    """The command line of this process, without folders of this machine."""
    folders = (
        "--evaluation.folder",
        "--evaluation.cache",
        "--evaluation.merge_into",
        "--data.evaluation_set.shards",
    )
    kept: list[str] = []
    is_value_of_skipped = False
    for argument in sys.argv[1:]:
        if not is_value_of_skipped and not argument.startswith(folders):
            kept.append(argument)
        is_value_of_skipped = argument in folders
    return shlex.join(["python", "-m", "lightning_n2m", *kept])


def _evaluation_set(trainer: pl.Trainer) -> EvaluationSet:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, Prompts) or data.evaluation_set is None:
        raise InputError("A cascade is tested on prompts; give --data.evaluation_set.")
    return data.evaluation_set


def _settings(cascade: Cascade, source: EvaluationSet) -> tuple[dict[str, Any], Mapping[str, list[Any]]]:
    """What all clips depend on, and for each key what its clip depends on: number and prompt."""
    settings = {
        "stages": [
            {
                "stage": type(stage).__name__,
                "weights": fingerprint(stage.parameters()),
                "sampling": dataclasses.asdict(stage.sampling),
            }
            for stage in (cascade.generator, cascade.refiner)
        ],
        "seed": cascade.seed,
        "negative": cascade.negative,
        "set": source.name,
        "seconds": source.seconds,
    }
    # As JSON returns them: lists, no tuples.
    numbered = {item.key: [number, item.prompt] for number, item in enumerate(source.items())}
    return json.loads(json.dumps(settings)), numbered
