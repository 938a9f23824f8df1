"""`python -m lightning_n2m.playground`: serve the page until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import threading
from types import FrameType

from jsonargparse import ArgumentParser

from lightning_n2m.errors import InputError
from lightning_n2m.playground.server import serve
from lightning_n2m.playground.settings import PlaygroundSettings


def main(args: list[str] | None = None) -> None:
    """Serve the page until a signal ends it.

    Args:
        args: Options; those of this process when null.

    Raises:
        SystemExit: with code 2 for wrong input, and 128 + the signal's number at the end.
    """
    parser = ArgumentParser(prog="python -m lightning_n2m.playground", description=__doc__)
    parser.add_class_arguments(PlaygroundSettings)
    options = parser.parse_args(args)
    received: list[int] = []
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        stopped.set()

    try:
        settings = PlaygroundSettings(**options.as_dict())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, stop)
        print("Starting the playground ...", file=sys.stderr, flush=True)
        with serve(settings) as url:
            print(f"The playground is at {url} ; Ctrl-C ends it.", flush=True)
            stopped.wait()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(128 + received[0])


if __name__ == "__main__":
    main()
