"""`python -m data_pipeline COMMAND`: the offline tools."""

from __future__ import annotations

import contextlib
import errno
import importlib
import itertools
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

from lightning_n2m.errors import InputError, printable
from lightning_n2m.heartbeat import heartbeat
from lightning_n2m.interrupts import exit_on_interrupt

# Commands in the order of a first run. Each is the function of its name in the module of its name, and
# imported only when it runs, so that the help comes at once.
COMMANDS = ("starter", "manifest", "shard", "verify", "stats", "vocabulary", "embed", "label", "derive-text")
# Solved by another path: no permission, a file where a folder should be, and the like.
_PATH_ERRORS = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT,
    errno.ENAMETOOLONG, errno.ELOOP,
)  # fmt: skip
# Solved at the disk itself, after which the same command resumes.
_DISK_ERRORS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN,
)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; that of this process when null.

    Returns:
        The exit code: 0 done, 2 wrong input (a one-line message on standard error), 130 interrupted.
    """
    options = _normalized(sys.argv[1:] if arguments is None else arguments)
    commands = options[:1] if options and options[0] in COMMANDS else COMMANDS
    from jsonargparse import ArgumentError, auto_cli

    message = ""
    try:
        program = f"n2m-data {options[0]}" if len(commands) == 1 else ""
        if arguments is None:
            exit_on_interrupt()
        with heartbeat(program) if program else contextlib.nullcontext():
            auto_cli(
                {name: _function(name) for name in commands},
                args=options,
                prog="python -m data_pipeline",
                exit_on_error=False,
                as_positional=False,
            )
    except InputError as error:
        message = str(error)
    except ArgumentError as error:
        # jsonargparse spreads its reason over several lines.
        reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
        command = " ".join(["python -m data_pipeline", *(commands if len(commands) == 1 else ()), "--help"])
        message = f"{printable(reason)}; see '{command}'."
    except BrokenPipeError:
        # The reader of the output has ended, as `head` does. Python would print an error when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        message = _explain(error)
        if not message:
            raise
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to resume.", file=sys.stderr)
        return 130
    finally:
        if arguments is None:
            # Ctrl-C while the interpreter ends, which takes seconds with PyTorch, prints no traceback.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    if message:
        print(message, file=sys.stderr)
        return 2
    return 0


def _normalized(arguments: Sequence[str]) -> list[str]:
    """Accept ``--clip-seconds`` for ``--clip_seconds``, and a switch without its value."""
    options = [
        re.sub(r"^--[^=]+", lambda option: "--" + option[0][2:].replace("-", "_"), argument)
        for argument in arguments
    ]
    return [
        "--json=true" if option == "--json" and following not in ("true", "false") else option
        for option, following in itertools.zip_longest(options, options[1:])
    ]


def _function(command: str) -> Any:
    """The function of a command: that of its name, in the module of its name."""
    name = command.replace("-", "_")
    return getattr(importlib.import_module(f"data_pipeline.{name}"), name)


def _explain(error: OSError) -> str:
    """One line for an error of the file system that the user can solve; empty for any other."""
    place = printable(error.filename or "The output")
    if error.errno in _PATH_ERRORS:
        return f"{place}: {error.strerror}; give another path."
    if error.errno in _DISK_ERRORS:
        return f"{place}: {error.strerror}; solve this, then run the same command again to resume."
    return ""


if __name__ == "__main__":
    sys.exit(main())
