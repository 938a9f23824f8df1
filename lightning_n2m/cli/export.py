"""`python -m lightning_n2m export`: the averaged weights and the config of a run as one folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from lightning_n2m.cli.parser import CommandParser

DESCRIPTION = """Write the averaged weights and the config of a run into one folder, which 'predict' and
--weights read. An existing bundle is replaced only when the new one is complete."""


def export(args: Sequence[str]) -> None:
    """Export a trained stage, or the two towers of a joint model.

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
    options = parser.parse_args(args)

    from lightning_n2m.package_files import find_stage_folder
    from lightning_n2m.stages.bundle import BEST, LAST, read_config, save_stage

    save: Callable[..., Path] = save_stage
    run = find_stage_folder(options.run)
    config = read_config(run)
    if str(config["class_path"]).startswith("lightning_n2m.mulan."):
        from lightning_n2m.mulan.bundle import save_towers

        save = save_towers
    bundle = save(run, options.output, checkpoint=BEST if options.best else LAST)
    print(f"{bundle} holds the averaged weights and the config of {options.run}.")
    if save is save_stage:
        name = str(config["class_path"]).rpartition(".")[2]
        role = "generator" if name.endswith("Generator") else "refiner"
        role = "super_resolution" if name == "SuperResolution" else role
        route = "spectrogram" if name.startswith("Spectrogram") else "waveform"
        command = f"n2m predict -c configs/cascade/{route}.yaml --model.{role}.folder {bundle}"
        print(f"Next: {command} --data.prompt TEXT")
    else:
        print(f"Next: n2m-data embed --joint {bundle} --shards SHARDS --output EMBEDDINGS")
