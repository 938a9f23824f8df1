"""`python -m lightning_n2m plan`: what a training needs, before it runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence

from lightning_n2m.cli.parser import CommandParser

DESCRIPTION = """Parameters, operations, memory on each GPU, data and GPU-days of a training.
Takes every option of 'fit' too: -c CONFIG [-c OVERLAY] [--any.key VALUE]."""


def plan_command(args: Sequence[str]) -> None:
    """Print the plan of a training as a table or as JSON.

    Args:
        args: Options of the command, and those of ``fit``.

    Raises:
        InputError: if an option is wrong.
    """
    parser = CommandParser("plan", DESCRIPTION)
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
    options, fit_options = parser.parse_known_args(args)

    from lightning_n2m.cli.lightning_cli import run_cli
    from lightning_n2m.plan import plan, table

    config = run_cli(["fit", *fit_options], parse_only=True).config_dump
    result = plan(config, options.gpus, options.gpu, options.utilisation)
    print(json.dumps(dataclasses.asdict(result), indent=1) if options.json else table(result))
