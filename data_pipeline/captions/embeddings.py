"""Embeddings on disk: memory-mapped vectors of clips and captions, and the joint model they are of."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data_pipeline.captions.vocabulary.table import Texts
from lightning_n2m.data.schema import Clip, Shard
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.joint import JointModel
from lightning_n2m.mulan.loading import load_joint
from lightning_n2m.storage import write_atomic

Vectors = NDArray[np.float32]
INDEX, FORMAT = "index.json", 1
BLOCK = 16_384  # Captions of a file: the unit of work.


@dataclass(frozen=True)
class Embeddings:
    """A folder of embeddings of one joint model.

    Args:
        folder: Where they are.
        joint: Where the joint model was loaded from.
        name: Its name, with the fingerprint of its weights.
        dimension: Length of its vectors.
    """

    folder: Path
    joint: str
    name: str
    dimension: int

    def clips(self, shard: Shard) -> Path:
        """Vectors of a shard's clips; what is known of these lies beside it, with the ending .jsonl."""
        return self.folder / "clips" / f"{shard.name.removesuffix('.tar')}-{shard.sha256[:12]}.npy"

    def captions(self, texts: Texts) -> list[Path]:
        """Files of the vectors of a vocabulary, each of `BLOCK` captions and the last of the rest."""
        folder = self.folder / "captions" / f"{texts.vocabulary}-{texts.fingerprint}"
        return [folder / f"{start // BLOCK:06d}.npy" for start in range(0, len(texts.texts), BLOCK)]

    def nearest(self, shard: Shard, texts: Texts, top: int) -> Path:
        """Numbers of the nearest captions of a shard's clips."""
        folder = self.folder / "nearest" / f"{texts.vocabulary}-{texts.fingerprint}-{top}"
        return folder / self.clips(shard).name

    def read_clips(self, shard: Shard) -> tuple[list[Clip], Vectors]:
        """The clips of a shard and their vectors.

        Raises:
            InputError: if they have not been embedded.
        """
        path = self.clips(shard)
        if not path.is_file():
            raise InputError(
                f"{self.folder} holds no embeddings of {shard.name} as it is now; run "
                "'python -m data_pipeline embed' on the shards."
            )
        lines = path.with_suffix(".jsonl").read_bytes().splitlines()
        return [Clip.from_json(line) for line in lines], self.read(path)

    def read(self, path: Path) -> Vectors:
        """Map a file of vectors into memory.

        Raises:
            InputError: if it is damaged, of another joint model, or holds what is no number.
        """
        remedy = "delete it and run 'python -m data_pipeline embed' again"
        try:
            vectors: Vectors = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} is damaged ({str(error).rstrip('.')}); {remedy}.") from error
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension or vectors.dtype != np.float32:
            raise InputError(
                f"{path} holds vectors of shape {vectors.shape}, so of another joint model than {self.name}; "
                f"{remedy}."
            )
        # A sum is no number as soon as one of its terms is none.
        if not np.isfinite(np.einsum("ij->", vectors, dtype=np.float64)):
            raise InputError(f"{path} holds embeddings that are no numbers; {remedy}.")
        return vectors


def open_embeddings(folder: Path) -> Embeddings:
    """Open a folder of embeddings.

    Raises:
        InputError: if it is none.
    """
    path = folder / INDEX
    remedy = "make it with 'python -m data_pipeline embed'"
    if not path.is_file():
        raise InputError(f"{folder} holds no {INDEX}, so it is no folder of embeddings; {remedy}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("format") != FORMAT:
            raise ValueError("of another format")
        return Embeddings(folder, **values)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); {remedy}.") from error


def claim(folder: Path, place: str, model: JointModel) -> Embeddings:
    """Make a folder of embeddings, or go on with one of the same joint model.

    Raises:
        InputError: if the folder holds embeddings of another one.
    """
    ours = Embeddings(folder, place, model.name, model.dimension)
    if (folder / INDEX).is_file():
        found = open_embeddings(folder)
        if found.name != ours.name:
            raise InputError(
                f"{folder} holds embeddings of {found.name}, not of {ours.name}; give another --output."
            )
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    values = {key: value for key, value in asdict(ours).items() if key != "folder"}
    write_atomic(folder / INDEX, json.dumps({"format": FORMAT, **values}, indent=1) + "\n")
    return ours


@cache
def joint_of(place: str, name: str | None = None) -> JointModel:
    """Load a joint model, once a process.

    Args:
        place: Where it is.
        name: The one that is expected there.

    Raises:
        InputError: if it cannot be loaded, or another one lies there by now.
    """
    model = load_joint(place)
    if name is not None and model.name != name:
        raise InputError(
            f"The embeddings are of {name}, but {place} holds {model.name} by now; embed the shards again."
        )
    return model


def write_vectors(path: Path, vectors: Vectors, names: Sequence[str], model: str) -> None:
    """Write vectors; the file is whole or not there.

    Args:
        path: Where to.
        vectors: ``(n, dimension)``.
        names: What each is of, for the message.
        model: Whose they are.

    Raises:
        InputError: if one is no number.
    """
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise InputError(
            f"{model} embeds {names[wrong[0]]} to what is no number, so its weights or the clip are damaged; "
            "give another joint model, or build the shard again."
        )
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(vectors, dtype=np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, stream.getvalue())
