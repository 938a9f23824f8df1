"""Embeddings on disk: memory-mapped vectors of clips and captions, of one joint model."""

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
from lightning_n2m.data.json_fields import parse_json
from lightning_n2m.data.schema import Clip, Shard
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.arrays import map_array, read_clips
from lightning_n2m.mulan.joint import JointModel
from lightning_n2m.mulan.loading import load_joint
from lightning_n2m.storage import write_atomic

Vectors = NDArray[np.float32]
INDEX, FORMAT = "index.json", 1
BLOCK = 16_384  # Captions of a file: the unit of work.
_MOST_INDEX = 1 << 16  # Bytes of the index.
_REMEDY = "delete it and run 'python -m data_pipeline embed' again"


@dataclass(frozen=True)
class Embeddings:
    """A folder of embeddings of one joint model.

    Args:
        folder: The folder.
        joint: Folder or hub name of the joint model.
        name: Its name, with the fingerprint of its weights.
        dimension: Length of its vectors.
    """

    folder: Path
    joint: str
    name: str
    dimension: int

    def clips(self, shard: Shard) -> Path:
        """File of the vectors of a shard's clips; their metadata is beside it, with the ending .jsonl."""
        return self.folder / "clips" / f"{shard.name.removesuffix('.tar')}-{shard.sha256[:12]}.npy"

    def captions(self, texts: Texts) -> list[Path]:
        """Files of the vectors of a vocabulary, each of `BLOCK` captions and the last of the rest."""
        folder = self.folder / "captions" / f"{texts.vocabulary}-{texts.fingerprint}"
        return [folder / f"{start // BLOCK:06d}.npy" for start in range(0, len(texts.texts), BLOCK)]

    def nearest(self, shard: Shard, texts: Texts, top: int) -> Path:
        """File of the numbers of the nearest captions of a shard's clips."""
        folder = self.folder / "nearest" / f"{texts.vocabulary}-{texts.fingerprint}-{top}"
        return folder / self.clips(shard).name

    def read_clips(self, shard: Shard) -> tuple[list[Clip], Vectors]:
        """The clips of a shard and their vectors.

        Raises:
            InputError: if they have not been embedded, or are damaged.
        """
        path = self.clips(shard)
        if not path.is_file():
            raise InputError(
                f"{self.folder} holds no embeddings of {shard.name} in its present state; run "
                "'python -m data_pipeline embed' on the shards."
            )
        return read_clips(path.with_suffix(".jsonl"), shard.clips, _REMEDY), self.read(path, shard.clips)

    def read(self, path: Path, count: int | None = None) -> Vectors:
        """Map a file of vectors into memory.

        Args:
            path: The file.
            count: Number of vectors that it must hold; None for any.

        Raises:
            InputError: if it is damaged, of another shape than this joint model's, or holds NaN or infinite
                numbers.
        """
        return map_array(path, np.float32, (count, self.dimension), _REMEDY)


def open_embeddings(folder: Path) -> Embeddings:
    """Open a folder of embeddings.

    Raises:
        InputError: if it holds none, or its index is damaged.
    """
    path = folder / INDEX
    remedy = "create it with 'python -m data_pipeline embed'"
    if not path.is_file():
        raise InputError(f"{folder} holds no {INDEX}, so it is no folder of embeddings; {remedy}.")
    try:
        values = parse_json(path.read_bytes(), _MOST_INDEX)
        if not isinstance(values, dict) or values.pop("format", None) != FORMAT:
            raise ValueError("of another format")
        embeddings = Embeddings(folder, **values)
        texts = (embeddings.joint, embeddings.name)
        if not all(isinstance(text, str) for text in texts) or type(embeddings.dimension) is not int:
            raise ValueError("fields of another type")
    except (OSError, ValueError, TypeError, InputError) as error:
        raise InputError(f"{path} is damaged ({str(error).rstrip('.')}); {remedy}.") from error
    return embeddings


def claim(folder: Path, place: str, model: JointModel) -> Embeddings:
    """Create a folder of embeddings, or resume one of the same joint model.

    Raises:
        InputError: if the folder holds embeddings of another one.
    """
    embeddings = Embeddings(folder, place, model.name, model.dimension)
    if (folder / INDEX).is_file():
        present = open_embeddings(folder)
        if present.name != embeddings.name:
            raise InputError(
                f"{folder} holds embeddings of {present.name}, not of {embeddings.name}; give another "
                "--output."
            )
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    values = {key: value for key, value in asdict(embeddings).items() if key != "folder"}
    write_atomic(folder / INDEX, json.dumps({"format": FORMAT, **values}, indent=1) + "\n")
    return embeddings


@cache
def joint_of(place: str, name: str | None = None) -> JointModel:
    """Load a joint model, once per process.

    Args:
        place: Its folder or hub name.
        name: The name that it must have.

    Raises:
        InputError: if it cannot be loaded, or is another model.
    """
    model = load_joint(place)
    if name is not None and model.name != name:
        raise InputError(
            f"The embeddings are of {name}, but {place} now holds {model.name}; embed the shards again."
        )
    return model


def write_vectors(path: Path, vectors: Vectors, names: Sequence[str], model: str) -> None:
    """Write vectors atomically.

    Args:
        path: The file to write.
        vectors: ``(n, dimension)``.
        names: What each vector is of, for the message.
        model: Name of the joint model.

    Raises:
        InputError: if a vector is NaN or infinite.
    """
    wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
    if len(wrong):
        raise InputError(
            f"The vector of {names[wrong[0]]} by {model} is NaN or infinite, so the weights or the clip are "
            "damaged; give another joint model, or build the shard again."
        )
    stream = io.BytesIO()
    np.save(stream, np.ascontiguousarray(vectors, dtype=np.float32))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, stream.getvalue())
