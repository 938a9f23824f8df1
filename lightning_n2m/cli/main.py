"""`python -m lightning_n2m COMMAND`: dispatches a command and turns wrong input into one line."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import warnings
from collections.abc import Sequence

from lightning_n2m.cli.arguments import prepare_arguments
from lightning_n2m.cli.help import COMMANDS, OVERVIEW
from lightning_n2m.errors import InputError, Interrupted, TrainingFailure, printable
from lightning_n2m.heartbeat import INTERVAL, heartbeat
from lightning_n2m.interrupts import exit_on_interrupt
from lightning_n2m.stages.bundle_config import trust_package

_SLOW = ("fit", "validate", "test", "predict", "ablate", "plan")
_COMMANDS = (*_SLOW, "export", "push")


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
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of the output has ended, as `head` does. Python would print an error when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except FileNotFoundError as error:
        sys.exit(_print_error(f"{' '.join(str(error).split())}; give a path that exists."))
    finally:
        if args is None:
            # Ctrl-C while the interpreter ends, which takes seconds with PyTorch, prints no traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _dispatch(arguments: list[str], from_process: bool) -> None:
    """Import the module of a command and run it: the help must not wait for Lightning."""
    command, options = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command in ("-h", "--help", "--help_all", "help"):
        print(OVERVIEW, end="")
        return
    if command not in _COMMANDS:
        raise InputError(f"There is no command '{command[:40]}'; choose one of {', '.join(_COMMANDS)}.")
    if command in COMMANDS and ("--help" in options or "-h" in options):
        print(COMMANDS[command], end="")
        return
    options = _take_trusted(["--help" if option == "--help_all" else option for option in options])
    if from_process:
        warnings.formatwarning = _format_warning
    with contextlib.ExitStack() as stack:
        if from_process and os.environ.get("LOCAL_RANK", "0") == "0":
            if command in _SLOW:
                print(f"n2m {command}: loading ...", file=sys.stderr, flush=True)
            stack.enter_context(heartbeat(f"n2m {command}", first=INTERVAL if command in _SLOW else None))
            exit_on_interrupt()
        _run(command, options)


def _run(command: str, options: list[str]) -> None:
    if command == "export":
        from lightning_n2m.cli.export import export

        export(options)
    elif command == "push":
        from lightning_n2m.cli.push import push

        push(options)
    elif command == "plan":
        from lightning_n2m.cli.plan import plan_command

        plan_command(options)
    elif command == "ablate":
        prepare_arguments([command, *options])  # reports a missing config before Lightning is imported
        from lightning_n2m.cli.lightning_cli import run_cli
        from lightning_n2m.evaluation.ablation import ablate

        ablate(options, run_cli)
    else:
        prepare_arguments([command, *options])
        from lightning_n2m.cli.lightning_cli import run_cli

        run_cli([command, *options])


def _format_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning in one line, without the place in the source."""
    return f"warning: {printable(str(message))}\n"


def _take_trusted(options: list[str]) -> list[str]:
    """Remove ``--trust PACKAGE`` from the options and trust the package."""
    remaining: list[str] = []
    rest = list(options)
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        if option != "--trust":
            remaining.append(option + equals + value)
            continue
        if not equals and not rest:
            raise InputError("--trust has no value; give the name of a Python package after it.")
        trust_package(value if equals else rest.pop(0))
    return remaining


def _input_error(error: BaseException | None) -> InputError | None:
    """Find the `InputError` behind an error: jsonargparse wraps what a constructor raises."""
    while error is not None and not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return error


def _print_error(message: str) -> int:
    """Print a message in one line and return exit code 2."""
    print(f"error: {printable(message)}", file=sys.stderr)
    return 2
