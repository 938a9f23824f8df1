"""The command line: LightningCLI for what trains and predicts, and a few commands beside it."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lightning_n2m.errors import InputError, Interrupted, TrainingFailure

if TYPE_CHECKING:
    from lightning.pytorch.cli import LightningCLI

HELP = """usage: python -m lightning_n2m COMMAND [OPTIONS]

Train and run the stages of Noise2Music.

commands:
  fit        train a stage:      fit -c configs/starter/waveform_generator.yaml
  validate   measure its loss:   validate -c RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt
  test       the same on the test split; for a cascade, the paper's evaluation:
             test -c configs/cascade/waveform.yaml --data.evaluation_set.shards SHARDS
  predict    make music:         predict -c configs/cascade/spectrogram.yaml --data.prompt "a slow waltz"
  ablate     the evaluation at other settings:  ablate -c configs/cascade/waveform.yaml --output FOLDER
  plan       size, memory and GPU-days of a training, before it runs:
             plan -c configs/paper/waveform_generator.yaml --gpus 64 --gpu a100
  export     weights and config of a run as one folder:  export RUN_FOLDER OUT_FOLDER [--best]

'python -m lightning_n2m COMMAND --help' lists the options of a command, 'fit --model.help CLASS' and
'fit --data.help CLASS' those of a stage and of its data (WaveformGenerator, AudioDataModule, ...), and
'... COMMAND -c CONFIG --print_config' tells what they come to.

A training that a signal ends saves its state and leaves with 128 + the signal's number; wrong input
leaves with 2.
"""

PLAN = """What a training would need: parameters, operations, memory on each GPU, data and GPU-days.
Takes every option of 'fit' too: -c CONFIG [-c OVERLAY] [--any.key VALUE]."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command; wrong input ends with one sentence on standard error and exit code 2."""
    given = list(sys.argv[1:] if args is None else args)
    try:
        if not given or given[0] in ("-h", "--help"):
            print(HELP, end="")
        elif given[0] == "export":
            _export(given[1:])
        elif given[0] == "ablate":
            from lightning_n2m.ablation import ablate

            ablate(given[1:], _run)
        elif given[0] == "plan":
            _plan(given[1:])
        else:
            _run(None if args is None else given)
    except (InputError, ValueError) as error:
        wrong = _input_error(error)
        if wrong is None:
            raise
        sys.exit(_refuse(str(wrong)))
    except pickle.UnpicklingError:
        sys.exit(
            _refuse(
                "The file that --ckpt_path names carries code or is no checkpoint; give one that 'fit' wrote."
            )
        )
    except Interrupted as end:
        print(end, file=sys.stderr)
        sys.exit(128 + end.signal)
    except TrainingFailure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except FileNotFoundError as error:
        sys.exit(_refuse(f"{' '.join(str(error).split())}; give a path that exists."))


def _input_error(error: BaseException | None) -> InputError | None:
    """The wrong input behind an error: jsonargparse wraps what a constructor raises in one of its own."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _refuse(message: str) -> int:
    # An error from a loader worker arrives with the worker's traceback; its last line is the sentence.
    sentence = message.strip().splitlines()[-1].removeprefix("lightning_n2m.errors.InputError: ")
    print(f"error: {sentence}", file=sys.stderr)
    return 2


def _export(args: list[str]) -> None:
    best = "--best" in args
    folders = [argument for argument in args if argument != "--best"]
    if len(folders) != 2 or any(folder.startswith("-") for folder in folders):
        raise InputError(
            "export takes two folders: 'python -m lightning_n2m export RUN_FOLDER OUT_FOLDER [--best]'."
        )
    from lightning_n2m.stages.bundle import BEST, LAST, read_config, save_stage

    run, folder = map(Path, folders)
    save: Callable[..., Path] = save_stage
    if str(read_config(run).get("class_path")).startswith("lightning_n2m.mulan."):
        from lightning_n2m.mulan.bundle import save_towers as save
    written = save(run, folder, checkpoint=BEST if best else LAST)
    print(f"{written} holds the averaged weights and the config of {folders[0]}.")


def _plan(args: list[str]) -> None:
    from lightning_n2m.plan import plan, table

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise InputError(f"plan: {message}; 'python -m lightning_n2m plan --help' lists its options.")

    parser = Parser(prog="python -m lightning_n2m plan", description=PLAN, allow_abbrev=False)
    parser.add_argument("--gpus", type=int, default=8, metavar="N", help="number of GPUs (default: 8)")
    parser.add_argument("--gpu", default="a100", metavar="NAME", help="kind of GPU (default: a100)")
    parser.add_argument(
        "--utilisation",
        type=float,
        default=0.4,
        metavar="SHARE",
        help="share of the GPU's peak that training reaches (default: 0.4; measure yours)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    own, rest = parser.parse_known_args(args)
    config = _run(["fit", *rest], parse_only=True).config_dump
    found = plan(config, own.gpus, own.gpu, own.utilisation)
    print(json.dumps(dataclasses.asdict(found), indent=1) if own.json else table(found))


def _run(args: list[str] | None, parse_only: bool = False) -> LightningCLI:
    """Hand over to the LightningCLI of this project; imported only when a command needs it.

    Args:
        args: Command and options; those of the process when null.
        parse_only: Neither build nor run anything; ``config_dump`` holds what the options come to.
    """
    warnings.filterwarnings("ignore", message=".*args parameter is intended to run from within Python.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*Couldn't infer the batch indices.*")
    warnings.filterwarnings("ignore", message=".*The dirpath has changed.*")
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*isinstance.treespec, LeafSpec.*")
    from lightning.pytorch import LightningDataModule, LightningModule, Trainer
    from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
    from lightning.pytorch.loggers import TensorBoardLogger

    from lightning_n2m.callbacks.checkpoint import Best, Checkpoint, WholeFiles
    from lightning_n2m.callbacks.curves import Curves
    from lightning_n2m.callbacks.ema import Ema
    from lightning_n2m.callbacks.evaluation import Evaluation
    from lightning_n2m.callbacks.failure import FailureWatch
    from lightning_n2m.callbacks.listen import Listen
    from lightning_n2m.callbacks.writer import Output
    from lightning_n2m.stages.bundle import LAST, begin_with

    if parse_only or (args or sys.argv[1:])[0] == "predict":
        for name in ("lightning.pytorch", "lightning.fabric"):  # who wants music wants no talk of devices
            logging.getLogger(name).setLevel(logging.WARNING)

    class Parser(LightningArgumentParser):
        def error(self, message: str, ex: Exception | None = None) -> Any:
            """A wrong key or value: one sentence instead of the usage of the whole program."""
            raise InputError(_one_sentence(message)) from ex

    class SaveConfig(SaveConfigCallback):
        """Keeps the config of a training beside its checkpoints; no other command leaves a file behind."""

        def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
            if stage == "fit":
                super().setup(trainer, pl_module, stage)

    class StageCli(LightningCLI):
        """Any stage or cascade as ``model``, any loader as ``data``; callbacks under names of their own."""

        def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
            parser.add_argument(
                "--weights",
                type=str | None,
                default=None,
                help="Folder of a trained stage, whose weights a new training begins with.",
            )
            parser.add_lightning_class_args(Ema, "ema")
            parser.add_lightning_class_args(Listen, "listen")
            parser.add_lightning_class_args(Output, "output")
            parser.add_lightning_class_args(Evaluation, "evaluation")
            parser.add_lightning_class_args(Curves, "curves")
            parser.add_lightning_class_args(FailureWatch, "failure")
            # Before `checkpoint`, so that the last state knows which was the best.
            parser.add_lightning_class_args(Best, "best")
            parser.add_lightning_class_args(Checkpoint, "checkpoint")

        def _parse_ckpt_path(self) -> None:
            """Nothing: checkpoints hold no hyper-parameters here, and reading one twice takes minutes."""

        def before_instantiate_classes(self) -> None:
            chosen = self.config[self.subcommand]
            chosen.weights_only = True  # A checkpoint holds tensors; one that carries code is refused.
            if chosen.weights is not None and self.subcommand != "fit":
                raise InputError(
                    f"--weights is what 'fit' begins with; '{self.subcommand}' takes --ckpt_path for a "
                    "stage, and folders for a cascade."
                )
            if self.subcommand == "predict":
                # `Output` has written them; keeping all would fill the memory.
                chosen.return_predictions = False

        def instantiate_classes(self) -> None:
            if parse_only:
                self._dump_config()
            else:
                super().instantiate_classes()

        def _run_subcommand(self, subcommand: str) -> None:
            if not parse_only:
                super()._run_subcommand(subcommand)

        def instantiate_trainer(self, **kwargs: Any) -> Trainer:
            # TensorBoard in the run's own folder, unless a config names another logger or none.
            if self._get(self.config_init, "trainer.logger") is None:
                root = self._get(self.config_init, "trainer.default_root_dir") or os.getcwd()
                trains = self.subcommand != "predict"
                kwargs["logger"] = TensorBoardLogger(root, name="", version="") if trains else False
            kwargs["plugins"] = [*(self._get(self.config_init, "trainer.plugins") or []), WholeFiles()]
            return super().instantiate_trainer(**kwargs)

        def before_fit(self) -> None:
            """Begin with the weights that were given; refuse to train over a finished or interrupted run."""
            last = Path(self.trainer.default_root_dir) / LAST
            if not last.is_file():
                if self.config_init.fit.weights is not None:
                    begin_with(self.model, self.config_init.fit.weights)
            elif self.config_init.fit.ckpt_path is None:
                raise InputError(
                    f"{last} exists: go on with '--ckpt_path last', or train elsewhere with "
                    "--trainer.default_root_dir."
                )

    return StageCli(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        parser_class=Parser,
        save_config_callback=SaveConfig,
        save_config_kwargs={"overwrite": True},
        auto_configure_optimizers=False,
        load_from_checkpoint_support=False,
        seed_everything_default=0,
        trainer_defaults={"use_distributed_sampler": False},
        args=args,
    )


def _one_sentence(message: str) -> str:
    """What is wrong with which key: jsonargparse lists every type that did not fit, over many lines."""
    message = " ".join(message.split())
    key = re.search(r'Parser key "([^"]+)"', message)
    nested = re.search(r"NestedArg\(key='([^']+)'", message)
    reason = re.search(r"Errors: - (.+?)(?: - |$| Given value)", message)
    if not (key and reason):
        return message
    path = ".".join(part.group(1) for part in (key, nested) if part)
    wrong = f"{path}: {reason.group(1).rstrip('.')}"
    return f"{wrong}; 'python -m lightning_n2m fit -c CONFIG --print_config' lists all keys."
