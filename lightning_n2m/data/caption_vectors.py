"""Computes the text vectors of every caption that training can draw from a shard folder."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator

from lightning_n2m.aliases import upgrade_config
from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_vectors import (
    BLOCK,
    INDEX,
    EncoderHeader,
    StoredTextVectors,
    caption_key,
    write_block,
    write_index,
)
from lightning_n2m.data.schema import Clip, read_captions, read_index
from lightning_n2m.data.shard_reader import ShardFile
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, join, locate, make_folder, remove_partial_files, size


def drawable_captions(shards: Location, texts: TextBatch, report: Callable[[int], None]) -> list[str]:
    """Every caption that training can draw from a shard folder, once each; the null text is one of them.

    Args:
        shards: Folder of shards, or its URL.
        texts: How captions are drawn.
        report: Is called with the number of clips of each shard that has been read.

    Raises:
        InputError: if a shard is damaged.
    """
    captions = {"": None}
    for shard in read_index(shards).shards:
        file = ShardFile(locate(shards), shard)
        labels = read_captions(file.captions)
        for clip in _clips(file):
            captions.update(dict.fromkeys(texts.drawable(clip, labels.get(clip.key))))
        report(shard.clips)
    return list(captions)


def derive_text_vectors(
    folder: Location, encoder: TextEncoder, captions: Iterable[str], device: str
) -> Iterator[int]:
    """Encode captions whose vectors a folder does not hold yet.

    Each block is written atomically: a killed job, run again, repeats at most one.

    Args:
        folder: Where the vectors are stored.
        encoder: The encoder.
        captions: What to encode.
        device: Where the encoder runs.

    Yields:
        First the number of captions that the folder holds already, then those of each new block.

    Raises:
        InputError: if the folder is damaged or holds vectors of another encoder.
    """
    header = EncoderHeader.of(encoder)
    make_folder(folder)
    remove_partial_files(folder)
    if size(join(folder, INDEX)) is None:
        write_index(folder, header)
    stored = StoredTextVectors(folder)
    if not stored.header.matches(header):
        raise InputError(
            f"{folder} holds text vectors of {stored.header}, not of {header}; delete it, or give another "
            "--name."
        )
    unique = {caption_key(text): text for text in captions}
    # In the order of their keys, so that the blocks do not depend on the order of the shards.
    missing = [text for _, text in sorted(unique.items()) if text not in stored]
    yield len(unique) - len(missing)
    for start in range(0, len(missing), BLOCK):
        part = missing[start : start + BLOCK]
        write_block(folder, stored.header, encoder.run(part, device))
        yield len(part)


def _clips(file: ShardFile) -> Iterator[Clip]:
    """The metadata of the clips of a shard; audio is not read."""
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
            for member in tar:
                if member.isreg() and member.name.endswith(".json"):
                    content = tar.extractfile(member)
                    assert content is not None  # as it is a regular file
                    yield Clip.from_json(content.read())
    except (InputError, OSError, tarfile.TarError, ValueError) as error:
        raise InputError(f"Shard {file.path} is damaged ({type(error).__name__}); build it again.") from error


def build_encoder(settings: dict[str, object], origin: str) -> TextEncoder:
    """The text encoder of a recipe.

    Args:
        settings: Its arguments.
        origin: The recipe's name, for messages.

    Raises:
        InputError: if an argument is unknown or has the wrong type.
    """
    upgraded = upgrade_config({"text": settings})["text"]
    kinds = {"model": str, "max_tokens": int, "dtype": str, "cache_bytes": int}
    for name, value in upgraded.items():
        if name not in kinds or type(value) is not kinds[name]:
            raise InputError(f"{origin}: text.{name} is not valid ({value!r}); correct the recipe.")
    if "model" not in upgraded or upgraded.get("dtype", "float32") not in ("float32", "bfloat16"):
        raise InputError(f"{origin}: text needs a model, and a dtype of float32 or bfloat16.")
    return TextEncoder(**upgraded)
