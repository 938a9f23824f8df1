"""`python -m data_pipeline COMMAND`: the offline tools."""

from __future__ import annotations

import errno
import importlib
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any

from lightning_n2m.errors import InputError

# Commands in the order of a first run; each is the function of its name in the module of its name,
# imported only when it is called for, so that the help comes at once.
COMMANDS = ("starter", "manifest", "shard", "verify", "stats", "vocabulary", "embed", "label", "derive-text")
# What the user can mend by another path: no permission, a file where a folder should be, and the like.
_PATHS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT)
# What is mended at the disk itself, after which the same command goes on.
_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENOTCONN)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The command line without the program's name; this process's own when none is given.

    Returns:
        The exit code: 0 done, 2 wrong input (one sentence on standard error), 130 interrupted.
    """
    # --clip-seconds is as good as --clip_seconds.
    given = [
        re.sub(r"^--[^=]+", lambda option: "--" + option[0][2:].replace("-", "_"), argument)
        for argument in (sys.argv[1:] if arguments is None else arguments)
    ]
    # A switch alone is as good as one with its value.
    given = [
        "--json=true" if option == "--json" and following not in ("true", "false") else option
        for option, following in itertools.zip_longest(given, given[1:])
    ]
    wanted = given[:1] if given and given[0] in COMMANDS else COMMANDS
    functions = {name: _function(name) for name in wanted}
    from jsonargparse import ArgumentError, auto_cli

    try:
        auto_cli(
            functions,
            args=given,
            prog="python -m data_pipeline",
            exit_on_error=False,
            as_positional=False,
        )
    except InputError as error:
        print(error, file=sys.stderr)
    except ArgumentError as error:
        # jsonargparse spreads what went wrong over several lines.
        reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
        command = " ".join(["python -m data_pipeline", *(given[:1] if len(wanted) == 1 else []), "--help"])
        print(f"{reason}; see '{command}'.", file=sys.stderr)
    except OSError as error:
        place = error.filename or "The output"
        if error.errno in _PATHS:
            print(f"{place}: {error.strerror}; give another path.", file=sys.stderr)
        elif error.errno in _DISKS:
            print(
                f"{place}: {error.strerror}; see to the disk, then run the same command again to go on.",
                file=sys.stderr,
            )
        else:
            raise
    except KeyboardInterrupt:
        print("Interrupted; run the same command again to go on.", file=sys.stderr)
        return 130
    else:
        return 0
    return 2


def _function(command: str) -> Any:
    """The function of a command: that of its name, in the module of its name."""
    name = command.replace("-", "_")
    return getattr(importlib.import_module(f"data_pipeline.{name}"), name)


if __name__ == "__main__":
    sys.exit(main())
