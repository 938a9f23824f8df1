"""Loads a joint music-text model from a folder or by its hub name."""

from __future__ import annotations

import json

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.bundle import load_towers
from lightning_n2m.mulan.clap import Clap
from lightning_n2m.mulan.joint import JointModel
from lightning_n2m.mulan.muq import MuQMuLan
from lightning_n2m.package_files import find_stage_folder


def load_joint(place: str) -> JointModel:
    """Load a joint model, ready to embed.

    Args:
        place: A folder that ``export`` wrote, its URL, or that of a run, for our own two towers; a folder or
            hub name of CLAP (`transformers.ClapModel`); ``muq:`` and a folder or hub name for MuQ-MuLan.

    Raises:
        InputError: if there is no such model, or its weights are missing.
    """
    if place.startswith("muq:"):
        return MuQMuLan(place.removeprefix("muq:"))
    folder = find_stage_folder(place)
    if (folder / "config.yaml").is_file():
        return load_towers(folder)
    if not folder.is_dir():
        if place.startswith((".", "/")) or "/" not in place:
            raise InputError(
                f"The joint model {place} does not exist; give --joint a folder that 'export' wrote, or the "
                "folder or hub name of a CLAP."
            )
        return Clap(place)
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} holds neither config.yaml nor a config.json with a model type, so it is no joint "
            "model; give a folder that 'export' or save_pretrained wrote."
        ) from error
    if kind != "clap":
        raise InputError(f"{folder} holds a model of type '{kind}', not a CLAP; give --joint another folder.")
    return Clap(place)
