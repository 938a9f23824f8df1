"""`python -m data_pipeline derive-text`: the text encoder's vectors of all captions, computed once."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any, Literal

import yaml

from data_pipeline.progress import progress
from lightning_n2m.data.schema import TEXT_FOLDER, read_index
from lightning_n2m.errors import InputError
from lightning_n2m.storage import join, locate


def derive_text(
    shards: str,
    recipe: Path,
    name: str = TEXT_FOLDER,
    tag_orders: int | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
) -> None:
    """Compute the text vectors of every caption of a shard folder before training.

    Training then reads them instead of running the text encoder, which for T5-XXL is a third of all
    computation ('python -m lightning_n2m plan' shows both). The vectors are stored beside the shards, and
    training finds them by the recipe's data.text_vectors, whose default is the default --name.

    Sentences are complete texts. Tags are joined in a new order each time, as in the paper, so they have no
    finite list of texts: set data.tag_orders in the recipe to draw each clip's order from as many fixed
    ones. Captions without vectors are encoded during training. Run this command again after 'label': it
    encodes only what is new.

    Args:
        shards: Folder of shards, or its URL.
        recipe: The recipe that will be trained: its text encoder, data.pseudo_labels and data.tag_orders.
        name: Sub-folder of the shards for the vectors. Encoders that differ need different ones.
        tag_orders: Fixed orders of tags of each clip, where the recipe does not set them.
        device: Where the encoder runs: 'auto' takes a GPU if there is one.

    Raises:
        InputError: if the recipe has no text encoder, a shard is damaged, or the folder holds vectors of
            another encoder.
    """
    import torch

    from lightning_n2m.data.caption_vectors import build_encoder, derive_text_vectors, drawable_captions
    from lightning_n2m.data.text_batch import TextBatch

    text, data = _read_recipe(recipe)
    orders = data.get("tag_orders", tag_orders)
    if not name or set(name) & set("/\\") or name in (".", ".."):
        raise InputError(f"--name {name}: give the name of one folder.")
    encoder = build_encoder(text, str(recipe))
    budget = encoder.max_tokens - encoder.special_tokens
    texts = TextBatch(budget, encoder.count_tokens, data.get("pseudo_labels"), orders)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    clips = sum(shard.clips for shard in read_index(shards).shards)
    with progress("reading captions", clips, "clips") as report:
        captions = drawable_captions(locate(shards), texts, report)
    folder = join(locate(shards), name)
    counts = derive_text_vectors(folder, encoder, captions, device)
    stored = next(counts)
    new = 0
    with progress("encoding", len(captions), "captions", stored) as report:
        for count in counts:
            new += count
            report(count)
    print(f"{folder} holds the vectors of {len(captions)} captions, {new} of them new, by {encoder.model}.")
    if orders is None:
        print("Tags in random order are not among them; set data.tag_orders in the recipe to include them.")
    options = shlex.join(["-c", str(recipe), "--data.shards", str(shards), "--data.text_vectors", name])
    print(f"Next: python -m lightning_n2m fit {options}")


def _read_recipe(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of a recipe's text encoder and of its data."""
    remedy = "give --recipe that of a stage with text, such as configs/paper/waveform_generator.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
        text = config["model"]["init_args"]["text"]
        data = config.get("data", {})
        return dict(text.get("init_args", text)), dict(data.get("init_args", data))
    except (
        OSError,
        ValueError,
        yaml.YAMLError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        reason = getattr(error, "strerror", None) or "no model.init_args.text"
        raise InputError(f"{path} cannot be used ({reason}); {remedy}.") from error
