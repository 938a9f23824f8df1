"""`python -m lightning_n2m export`: the averaged weights and the config of a run as one folder."""

from __future__ import annotations

import argparse
import functools
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_n2m.cli.parser import CommandParser
from lightning_n2m.errors import InputError
from lightning_n2m.interrupts import raise_on_interrupt

if TYPE_CHECKING:
    from lightning_n2m.cli.card import CardFacts

DESCRIPTION = """Write the averaged weights and the config of a run into one folder, which 'predict' and
--weights read. A run of 'fit --adapter' gives a folder with the adapter alone. With --merge, RUN_FOLDER is
the stage that the adapters belong to, and the result an ordinary stage. An existing bundle is replaced
only when the new one is complete."""


def export(args: Sequence[str]) -> None:
    """Export a trained stage, an adapter, or the two towers of a joint model.

    Args:
        args: Options of the command.

    Raises:
        InputError: if an option is wrong, or the folder does not hold a run.
    """
    parser = CommandParser("export", DESCRIPTION)
    parser.add_argument(
        "run", metavar="RUN_FOLDER", help="folder of a run that 'fit' wrote, or the URL of a bundle"
    )
    parser.add_argument("output", type=Path, metavar="OUT_FOLDER", help="folder of the bundle")
    parser.add_argument(
        "--best", action="store_true", help="the checkpoint with the best validation loss, not the last one"
    )
    parser.add_argument(
        "--merge",
        nargs="+",
        metavar="ADAPTER[:STRENGTH]",
        help="add adapters to the weights, stored in 32 bits; the strength is 1 where none is given",
    )
    parser.add_argument(
        "--format",
        choices=("safetensors", "onnx"),
        default="safetensors",
        help="onnx: the network of a stage for ONNX Runtime, for sampling only; needs the extra 'onnx'",
    )
    parser.add_argument("--half", action="store_true", help="store merged weights in 16 bits")
    parser.add_argument(
        "--base",
        type=Path,
        metavar="FOLDER",
        help="a bundle beside OUT_FOLDER: store only the difference from its weights, at --rank",
    )
    parser.add_argument("--rank", type=int, default=16, help="rank of the difference from --base")
    card = parser.add_argument_group("card")
    card.add_argument("--card", action="store_true", help="write README.md in the form of model hubs")
    card.add_argument("--license", default="unknown", help="identifier of the licence, such as cc-by-4.0")
    card.add_argument("--dataset", action="append", default=[], help="a training set; may be repeated")
    card.add_argument("--base_model", help="ORG/NAME that the training started from (default: --weights)")
    card.add_argument("--evaluation", type=Path, help="evaluation.json, whose metrics the card shows")
    options = parser.parse_args(args)
    if options.half and not options.merge:
        parser.error("--half belongs to --merge; other bundles are in 16 bits anyway")
    if options.best and options.merge:
        parser.error("--best does not go with --merge; export the run first, then merge")
    if options.format == "onnx" and options.card:
        parser.error("--card describes weights in the format safetensors; leave out --format onnx")
    if options.format == "onnx" and options.merge:
        parser.error("--format onnx does not go with --merge; merge first, then export the result")
    if options.base and (options.card or options.merge or options.format == "onnx"):
        parser.error("--base does not go with --card, --merge or --format onnx, whose weights are whole")
    if not options.card and (options.dataset or options.base_model or options.evaluation):
        parser.error("--dataset, --base_model and --evaluation describe a card; add --card")

    from lightning_n2m.package_files import find_stage_folder
    from lightning_n2m.stages.adapters import is_adapter_run, merge_stage, save_adapter
    from lightning_n2m.stages.bundle import BEST, LAST, read_config, save_stage

    raise_on_interrupt()
    checkpoint = BEST if options.best else LAST
    run = find_stage_folder(options.run)
    facts = _card_facts(options, run) if options.card else None
    if options.merge:
        adapters = [_with_strength(text) for text in options.merge]
        bundle = merge_stage(run, options.output, adapters, options.half)
        _write_card(bundle, read_config(bundle), facts)
        print(f"{bundle} holds {options.run} with {', '.join(options.merge)}.")
        _print_next_stage(bundle, str(read_config(bundle)["class_path"]))
        return
    if options.format == "onnx":
        _export_onnx(options, run, checkpoint)
        return
    if options.base and (is_adapter_run(run) or not _is_stage(read_config(run))):
        raise InputError(f"--base is for the stages of a cascade, and {options.run} is none; leave it out.")
    if is_adapter_run(run):
        bundle = save_adapter(run, options.output, checkpoint=checkpoint)
        config = read_config(run)
        _write_card(bundle, config, facts)
        print(f"{bundle} holds the averaged adapter of {options.run}, without its base.")
        role, route = _role(str(config["class_path"]))
        print(f"Next: n2m predict -c configs/cascade/{route}.yaml --data.prompt TEXT \\")
        print(f"          --model.{role}.folder BASE --model.{role}.adapters '[{{folder: {bundle}}}]'")
        return
    save: Callable[..., Path] = save_stage
    config = read_config(run)
    if str(config["class_path"]).startswith("lightning_n2m.mulan."):
        from lightning_n2m.mulan.bundle import save_towers

        save = save_towers
    elif options.base:
        save = functools.partial(save_stage, base=options.base, rank=options.rank)
    bundle = save(run, options.output, checkpoint=checkpoint)
    _write_card(bundle, config, facts)
    origin = f", as a difference from {options.base}" if options.base else ""
    print(f"{bundle} holds the averaged weights and the config of {options.run}{origin}.")
    if _is_stage(config):
        _print_next_stage(bundle, str(config["class_path"]))
    else:
        print(f"Next: n2m-data embed --joint {shlex.quote(str(bundle))} --shards SHARDS --output EMBEDDINGS")


def _export_onnx(options: argparse.Namespace, run: Path, checkpoint: Path) -> None:
    from lightning_n2m.stages.adapters import is_adapter_run
    from lightning_n2m.stages.bundle import read_config
    from lightning_n2m.stages.onnx_bundle import save_onnx

    if is_adapter_run(run) or not _is_stage(read_config(run)):
        raise InputError(
            f"--format onnx is for the stages of a cascade, and {options.run} is none; leave it out."
        )
    bundle = save_onnx(run, options.output, checkpoint)
    print(f"{bundle} holds the network of {options.run} in ONNX, and its config.")
    _print_next_stage(bundle, str(read_config(bundle)["class_path"]))


def _card_facts(options: argparse.Namespace, run: Path) -> CardFacts:
    """What the options say about a card, read before the bundle is written."""
    from lightning_n2m.cli.card import CardFacts, base_model_of
    from lightning_n2m.evaluation.metric import read_metrics

    metrics = read_metrics(options.evaluation) if options.evaluation else []
    base_model = options.base_model or base_model_of(run)
    return CardFacts(options.license, options.dataset, base_model, metrics)


def _write_card(bundle: Path, config: dict[str, Any], facts: CardFacts | None) -> None:
    from lightning_n2m.cli.card import write_card

    if facts is not None:
        print(f"{write_card(bundle, config, facts)} is its card; 'n2m push' uploads both.")


def _is_stage(config: dict[str, Any]) -> bool:
    return str(config["class_path"]).startswith("lightning_n2m.stages.")


def _role(class_path: str) -> tuple[str, str]:
    """Place of a stage in a cascade, and the route that it belongs to."""
    name = class_path.rpartition(".")[2]
    role = "generator" if name.endswith("Generator") else "refiner"
    role = "super_resolution" if name == "SuperResolution" else role
    return role, "spectrogram" if name.startswith("Spectrogram") else "waveform"


def _print_next_stage(bundle: Path, class_path: str) -> None:
    role, route = _role(class_path)
    command = f"n2m predict -c configs/cascade/{route}.yaml --model.{role}.folder {shlex.quote(str(bundle))}"
    print(f"Next: {command} --data.prompt TEXT")


def _with_strength(text: str) -> tuple[str, float]:
    """Folder and strength of ``FOLDER[:STRENGTH]``."""
    folder, colon, strength = text.rpartition(":")
    try:
        return (folder, float(strength)) if colon else (text, 1.0)
    except ValueError:
        return text, 1.0  # a colon that belongs to the folder's name
