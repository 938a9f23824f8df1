"""`test` of a cascade: writes what it makes, then lets the judges hear it."""

from __future__ import annotations

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Sequence
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
    """The paper's protocol for a cascade: 16 kHz, the middle 10 s, one clip a prompt (section 5.1).

    ClipPairs are kept in ``FOLDER/generated``: an interrupted test goes on with what is missing. The figures
    are in ``FOLDER/evaluation.json``, the report in ``FOLDER/index.html``.

    Args:
        folder: Where clips and report go; null for ``evaluation/`` and the cascade's route.
        cache: Where is kept what the judges hear in real music; evaluations share it.
        embedders: For Fréchet distances beside the judging tagger: ``aisfx``, ``vggish:FILE``, or a
            joint model.
        joint_models: Joint models for text-audio similarity, beside the judging tagger's tags.
        refiner_clips: Real clips on which refiner and super-resolution are judged by themselves; 0 for none.
        merge_into: A JSON list that the figures are merged into, by name.
    """

    def __init__(
        self,
        folder: str | None = None,
        cache: str = "build/cache",
        embedders: Sequence[str] = ("aisfx",),
        joint_models: Sequence[str] = (),
        refiner_clips: int = 50,
        merge_into: str | None = None,
    ) -> None:
        self.folder, self.cache = folder, Path(cache)
        self.embedders, self.joint_models = tuple(embedders), tuple(joint_models)
        self.refiner_clips, self.merge_into = refiner_clips, merge_into
        self.started = time.monotonic()

    def place(self, cascade: Cascade) -> Path:
        """The folder of this evaluation."""
        return Path(self.folder or f"evaluation/{cascade.route}")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Refuse a folder whose clips were made otherwise."""
        if not isinstance(pl_module, Cascade):
            return
        self.started = time.monotonic()
        folder = self.place(pl_module)
        path = folder / "settings.json"
        settings, prompts = _settings(pl_module, _evaluation_set(trainer))
        if path.is_file():
            known = json.loads(path.read_text(encoding="utf-8"))
            # More or fewer prompts are no other settings: the first ones stay the same.
            earlier = known.pop("prompts")
            same = all(earlier.get(key, prompt) == prompt for key, prompt in prompts.items())
            if known != settings or not same:
                raise InputError(
                    f"{folder} holds clips of other weights or settings; give another --evaluation.folder, "
                    "or remove it."
                )
            prompts = earlier | prompts
        (folder / "generated").mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(settings | {"prompts": prompts}, indent=1))

    def on_test_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Take out of the batch what an earlier run has made."""
        if isinstance(pl_module, Cascade):
            folder = self.place(pl_module) / "generated"
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
            folder = self.place(pl_module) / "generated"
            made: list[GeneratedClip] = outputs["generated"]
            for clip in made:
                write(folder / f"{clip.name}.flac", clip.audio.float().cpu(), clip.sample_rate)
            if made:
                total = trainer.num_test_batches[0]
                print(f"{folder}: batch {batch_idx + 1} of {total}", file=sys.stderr, flush=True)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Let the judges hear everything, and write figures and report."""
        if not isinstance(pl_module, Cascade) or not trainer.is_global_zero:
            return
        from lightning_n2m.evaluation.evaluator import (
            CascadeEvaluator,  # the judges are for this command only
        )

        place = self.place(pl_module)
        # Lightning tests in inference mode, in which the probes could not be fitted.
        with torch.inference_mode(False), torch.no_grad(), trainer.precision_plugin.forward_context():
            figures = CascadeEvaluator(
                pl_module,
                _evaluation_set(trainer),
                place,
                self.cache,
                self.embedders,
                self.joint_models,
                self.refiner_clips,
                _command(),
            )()
        if self.merge_into is not None:
            merge_metrics(Path(self.merge_into), figures)
        for figure in figures:
            scale = f"floor {figure.floor:.4g}, ceiling {figure.ceiling:.4g}, n {figure.n}"
            print(f"{figure.name}: {figure.value:.4g} ({scale}; {figure.judge})")
        print(f"{place / 'index.html'} ({(time.monotonic() - self.started) / 60:.1f} minutes)")


def _command() -> str:
    """The command line that runs, as one would type it, without places that are this machine's own."""
    places = ("--evaluation.folder", "--evaluation.cache", "--evaluation.merge_into")
    given: list[str] = []
    following = False  # the value of an option that is left out
    for arg in sys.argv[1:]:
        if not following and not arg.startswith(places):
            given.append(arg)
        following = arg in places
    return shlex.join(["python", "-m", "lightning_n2m", *given])


def _evaluation_set(trainer: pl.Trainer) -> EvaluationSet:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, Prompts) or data.evaluation_set is None:
        raise InputError("A cascade is tested on prompts; give --data.evaluation_set.")
    return data.evaluation_set


def _settings(cascade: Cascade, asked: EvaluationSet) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """What all clips depend on, and by key what each depends on: its number and its prompt."""
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
        "set": asked.name,
        "seconds": asked.seconds,
    }
    # As JSON will give them back: lists, no tuples.
    numbered = {item.key: [number, item.prompt] for number, item in enumerate(asked.items())}
    return json.loads(json.dumps(settings)), numbered
