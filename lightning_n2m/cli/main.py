"""`python -m lightning_n2m COMMAND`: dispatches a command and turns wrong input into one line."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence

from lightning_n2m.errors import InputError, Interrupted, TrainingFailure

HELP = """usage: python -m lightning_n2m COMMAND [OPTIONS]

Train and run the stages of Noise2Music.

commands:
  fit        train a stage:      fit -c configs/starter/waveform_generator.yaml
  validate   measure its loss:   validate -c RUN/config.yaml --ckpt_path RUN/checkpoints/last.ckpt
  test       the same on the test split; for a cascade, the paper's evaluation:
             test -c configs/cascade/waveform.yaml --data.evaluation_set.shards SHARDS
  predict    generate music:     predict -c configs/cascade/spectrogram.yaml --data.prompt "a slow waltz"
  ablate     the evaluation with other settings:  ablate -c configs/cascade/waveform.yaml --output FOLDER
  plan       parameters, memory and GPU-days of a training, before it runs:
             plan -c configs/paper/waveform_generator.yaml --gpus 64 --gpu a100
  export     weights and config of a run as one folder:  export RUN_FOLDER OUT_FOLDER [--best]

'python -m lightning_n2m COMMAND --help' lists the options of a command, 'fit --model.help CLASS' and
'fit --data.help CLASS' those of a stage and of its data (WaveformGenerator, AudioDataModule, ...), and
'... COMMAND -c CONFIG --print_config' prints the resulting config.

Exit codes: 0 done, 2 wrong input, 1 an error of the program, 128 + n after signal n (a training saves its
state first).
"""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command.

    Args:
        args: The command and its options; those of this process when null.

    Raises:
        SystemExit: with code 2 and one line on standard error for wrong input, 1 for a training that
            failed, and 128 + the signal's number for one that a signal ended.
    """
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        _dispatch(arguments, args is None)
    except (InputError, ValueError) as error:
        input_error = _input_error(error)
        if input_error is None:
            raise
        sys.exit(_print_error(str(input_error)))
    except pickle.UnpicklingError:
        sys.exit(
            _print_error(
                "The file that --ckpt_path names contains code or is not a checkpoint; give one that 'fit' "
                "wrote."
            )
        )
    except Interrupted as interrupted:
        print(interrupted, file=sys.stderr)
        sys.exit(128 + interrupted.signal)
    except TrainingFailure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except FileNotFoundError as error:
        sys.exit(_print_error(f"{' '.join(str(error).split())}; give a path that exists."))


def _dispatch(arguments: list[str], from_process: bool) -> None:
    """Import the module of a command and run it: the help must not wait for Lightning."""
    command, options = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("-h", "--help"):
        print(HELP, end="")
    elif command == "export":
        from lightning_n2m.cli.export import export

        export(options)
    elif command == "plan":
        from lightning_n2m.cli.plan import plan_command

        plan_command(options)
    elif command == "ablate":
        from lightning_n2m.cli.lightning_cli import run_cli
        from lightning_n2m.evaluation.ablation import ablate

        ablate(options, run_cli)
    else:
        from lightning_n2m.cli.lightning_cli import run_cli

        run_cli(None if from_process else arguments)


def _input_error(error: BaseException | None) -> InputError | None:
    """Find the `InputError` behind an error: jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _print_error(message: str) -> int:
    """Print the last line of a message and return exit code 2.

    An error from a worker of the data loader arrives with the worker's traceback in front of it.
    """
    line = message.strip().splitlines()[-1].removeprefix("lightning_n2m.errors.InputError: ")
    print(f"error: {line}", file=sys.stderr)
    return 2
