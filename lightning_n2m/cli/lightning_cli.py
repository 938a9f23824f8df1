"""The LightningCLI of this project: any stage or cascade as ``model``, any data module as ``data``.

Importing this module imports Lightning and takes seconds; `lightning_n2m.cli.main` does so only for the
commands that need it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import get_loader
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from lightning_n2m.aliases import upgrade_arguments, upgrade_config
from lightning_n2m.callbacks.board import BoardLogger, settings_of
from lightning_n2m.callbacks.checkpoint import AtomicCheckpointIO, Best, Checkpoint
from lightning_n2m.callbacks.divergence_guard import DivergenceGuard
from lightning_n2m.callbacks.ema import Ema
from lightning_n2m.callbacks.prediction_writer import PredictionWriter
from lightning_n2m.callbacks.rank_monitor import RankMonitor
from lightning_n2m.callbacks.sample_logger import SampleLogger
from lightning_n2m.callbacks.train_metrics import TrainMetrics
from lightning_n2m.callbacks.training_progress import TrainingProgress
from lightning_n2m.cli.arguments import prepare_arguments
from lightning_n2m.cli.distilling import prepare_teacher, store_teacher
from lightning_n2m.cli.fitting import one_line_device_errors, prepare_fit, print_summary
from lightning_n2m.cli.prediction import prepare_prediction, summarised
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.callback import EvaluationCallback
from lightning_n2m.evaluation.sample_metrics import TaggerMetrics
from lightning_n2m.interrupts import interrupted_by_signals, raise_on_interrupt
from lightning_n2m.networks.adapters import AdapterSettings
from lightning_n2m.package_files import find_stage_folder
from lightning_n2m.stages.adapters import train_adapter
from lightning_n2m.stages.bundle import LAST, begin_with, read_config
from lightning_n2m.stages.stage_config import adopt_function
from lightning_n2m.storage import join, locate, make_folder, write_atomic

# The option `--samples.evaluate` finds imported classes by their names alone.
__all__ = ["StageCli", "TaggerMetrics", "run_cli"]

# Messages of Lightning and PyTorch that no user of this project can act on.
_IGNORED_WARNINGS = (
    ".*args parameter is intended to run from within Python.*",
    ".*does not have many workers.*",
    ".*Couldn't infer the batch indices.*",
    ".*The dirpath has changed.*",
    "Checkpoint directory .* exists and is not empty.*",
    ".*there is no last checkpoint available.*",
    ".*isinstance.treespec, LeafSpec.*",
    # Nothing modifies the output of a block in place, which is what this warns of.
    ".*FSDP2-wrapped module .* returned a view tensor.*",
)


class StageArgumentParser(LightningArgumentParser):
    """Parser that reports errors in one line and understands the key names of earlier versions."""

    def error(self, message: str, ex: Exception | None = None) -> Any:
        """Raise instead of printing the usage of the whole program.

        Raises:
            InputError: always.
        """
        raise InputError(_one_line(message)) from ex

    def _load_config_parser_mode(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """Read a config file or string; old class paths and keys are renamed before they are parsed."""
        try:
            config = get_loader("yaml")(content)
        except yaml.YAMLError:
            config = None  # The parser reports it.
        upgraded = upgrade_config(config)
        if upgraded != config:
            content = json.dumps(upgraded)
        return super()._load_config_parser_mode(content, *args, **kwargs)


class SaveFitConfig(SaveConfigCallback):
    """Writes ``config.yaml`` beside the checkpoints of a training; other commands write none."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Do nothing yet: the checkpoint from which a run resumes can still be refused."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the config into the run's folder once the training has started."""
        if trainer.is_global_zero:
            root = locate(trainer.default_root_dir)
            make_folder(root)
            write_atomic(join(root, "config.yaml"), self.parser.dump(self.config, skip_none=False))
            store_teacher(pl_module, str(root), self.config.teacher or self.config.weights)
            for logger in trainer.loggers:
                if isinstance(logger, BoardLogger):
                    logger.log_settings(settings_of(self.config.as_dict()))


class StageCli(LightningCLI):
    """Callbacks are option groups of their own (``--ema.decay``), so that configs stay flat.

    Args:
        parse_only: Neither build nor run anything; ``config_dump`` holds the resulting config.
        kwargs: See `lightning.pytorch.cli.LightningCLI`.
    """

    def __init__(self, parse_only: bool, **kwargs: Any) -> None:
        self.parse_only = parse_only
        super().__init__(**kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add ``--weights`` and one group per callback."""
        parser.add_argument(
            "--weights",
            type=str | None,
            default=None,
            help="Folder of a trained stage whose weights a new training starts from.",
        )
        parser.add_argument(
            "--teacher",
            type=str | None,
            default=None,
            help="Folder of the trained stage that a distilled one learns from; --weights when null.",
        )
        parser.add_argument(
            "--adapter",
            type=AdapterSettings | None,
            default=None,
            sub_configs=True,
            help="Train an adapter of --weights: configs/adapters/lora.yaml, or its keys.",
        )
        parser.add_lightning_class_args(Ema, "ema")
        parser.add_lightning_class_args(SampleLogger, "samples")
        parser.add_lightning_class_args(PredictionWriter, "output")
        parser.add_lightning_class_args(EvaluationCallback, "evaluation")
        parser.add_lightning_class_args(TrainMetrics, "train_metrics")
        parser.add_lightning_class_args(DivergenceGuard, "divergence")
        parser.add_lightning_class_args(TrainingProgress, "progress")
        parser.add_lightning_class_args(RankMonitor, "ranks")
        # Before `checkpoint`: the last checkpoint stores which one was the best.
        parser.add_lightning_class_args(Best, "best")
        parser.add_lightning_class_args(Checkpoint, "checkpoint")

    def _parse_ckpt_path(self) -> None:
        """Do nothing: checkpoints hold no hyper-parameters here, and reading one twice takes minutes."""

    def before_instantiate_classes(self) -> None:
        """Refuse options that do not belong to the command, and set those that always hold."""
        options = self.config[self.subcommand]
        options.weights_only = True  # A checkpoint holds tensors; one that contains code is refused.
        if options.adapter is not None and options.weights is None:
            raise InputError("--adapter needs --weights, the folder of the stage that it adapts; add it.")
        if options.adapter is not None and options.model.init_args.get("distillation") is not None:
            raise InputError(
                "--adapter trains no distilled stage: its network has further inputs (model.distillation); "
                "leave one of the two out."
            )
        if options.adapter is not None and not self.parse_only:
            adopt_function(options.model, read_config(find_stage_folder(options.weights)))
        if options.weights is not None and self.subcommand != "fit" and options.adapter is None:
            # The config of a run names the weights that it started from; its checkpoint replaces them.
            if options.ckpt_path is None:
                raise InputError(
                    f"--weights is an option of 'fit'; '{self.subcommand}' takes --ckpt_path for a stage, "
                    "and folders for a cascade."
                )
            options.weights = None
        if self.subcommand == "predict":
            # `PredictionWriter` has written them; keeping all of them would fill the memory.
            options.return_predictions = False

    def instantiate_classes(self) -> None:
        """Build model, data and trainer."""
        if self.parse_only:
            self._dump_config()
        else:
            super().instantiate_classes()

    def _run_subcommand(self, subcommand: str) -> None:
        if self.parse_only:
            return
        raise_on_interrupt()
        if subcommand == "fit":
            super()._run_subcommand(subcommand)
            return
        if subcommand != "predict":
            rest = " The same command keeps the clips that are written." if subcommand == "test" else ""
            with interrupted_by_signals(lambda: f"Interrupted.{rest}"):
                super()._run_subcommand(subcommand)
            return
        (writer,) = (c for c in self.trainer.callbacks if isinstance(c, PredictionWriter))  # type: ignore[attr-defined]
        with summarised(writer):
            if prepare_prediction(self.model, self.datamodule, writer, self.config_init.predict.ckpt_path):
                super()._run_subcommand(subcommand)

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Log to TensorBoard in the run's folder, unless the config names another logger or none."""
        if self._get(self.config_init, "trainer.logger") is None:
            root = self._get(self.config_init, "trainer.default_root_dir") or os.getcwd()
            is_logged = self.subcommand != "predict"
            kwargs["logger"] = BoardLogger(root, name="", version="") if is_logged else False
        plugins = self._get(self.config_init, "trainer.plugins") or []
        kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        # `TrainingProgress` replaces Lightning's bar in fit; both follow the same option.
        shows_progress = self._get(self.config_init, "trainer.enable_progress_bar") is not False
        if self.subcommand == "fit":
            kwargs["enable_progress_bar"] = False
        with one_line_device_errors():
            trainer = super().instantiate_trainer(**kwargs)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, TrainingProgress):
                callback.is_enabled = shows_progress and self.subcommand == "fit"
        return trainer

    def before_fit(self) -> None:
        """Check the run's folder and checkpoint, then load ``--weights`` for a new run.

        Raises:
            InputError: if the training cannot start; see `prepare_fit`.
        """
        options = self.config_init.fit
        root, teacher = self.trainer.default_root_dir, options.teacher or options.weights
        prepare_teacher(self.model, root, teacher, options.teacher is not None)
        self._load_base()
        prepare_fit(self.trainer, self.model, options.ckpt_path)
        is_new = not (Path(self.trainer.default_root_dir) / LAST).is_file()
        if options.weights is not None and options.adapter is None and is_new:
            begin_with(self.model, options.weights)

    def before_validate(self) -> None:
        """Load the teacher of a distilled stage from its run, and the base of an adapter."""
        teacher = self.config_init[self.subcommand].teacher
        prepare_teacher(self.model, self.trainer.default_root_dir, teacher, False)
        self._load_base()

    before_test = before_validate

    def _load_base(self) -> None:
        """Load the base of an adapter. Checkpoints hold the adapter alone, so a resumed run needs it too."""
        options = self.config_init[self.subcommand]
        if options.adapter is not None:
            train_adapter(self.model, options.weights, options.adapter)

    def after_fit(self) -> None:
        """Print a summary."""
        print_summary(self.trainer, self.model)


def run_cli(args: list[str] | None, parse_only: bool = False) -> StageCli:
    """Parse a command line and run it.

    Args:
        args: Command and options; those of this process when null.
        parse_only: Neither build nor run anything; ``config_dump`` holds the resulting config.

    Raises:
        InputError: if an option, a key or a value is wrong.
    """
    for message in _IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    arguments = prepare_arguments(upgrade_arguments(sys.argv[1:] if args is None else args))
    # Lightning reports devices and advertises products at the level INFO.
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    return StageCli(
        parse_only,
        model_class=LightningModule,
        datamodule_class=LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        parser_class=StageArgumentParser,
        save_config_callback=SaveFitConfig,
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        seed_everything_default=0,
        # Lightning's table of modules and FLOPs: `TrainingProgress` states the size in one line instead.
        trainer_defaults={"use_distributed_sampler": False, "enable_model_summary": False},
        args=arguments,
    )


def _one_line(message: str) -> str:
    """Name the key and what is wrong with it: jsonargparse lists every type that did not match."""
    message = " ".join(message.split())
    if "arguments are required" in message:
        return (
            f"{message}; give a config with -c, such as -c configs/cascade/spectrogram.yaml for 'predict' "
            "or -c configs/starter/waveform_generator.yaml for 'fit'."
        )
    key = re.search(r'Parser key "([^"]+)"', message)
    nested_key = re.search(r"NestedArg\(key='([^']+)'", message)
    reason = re.search(r"Errors: - (.+?)(?: - |$| Given value)", message)
    if not (key and reason):
        return message
    path = ".".join(part.group(1) for part in (key, nested_key) if part)
    return (
        f"{path}: {reason.group(1).rstrip('.')}; 'python -m lightning_n2m fit -c CONFIG --print_config' "
        "lists all keys."
    )
