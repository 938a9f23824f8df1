"""Compares the identifier of a downloaded bundle to its content.

``export`` writes a hash of config and tensors into both files (see `lightning_n2m.stages.bundle`). It shows
damage and mixed versions where a server states no hash. Bundles of early versions have none.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from lightning_n2m.errors import InputError

MAX_HEADER = 1 << 24  # bytes
_LINE = re.compile(rb"# bundle ([0-9a-f]{16})\n")
_CHUNK = 1 << 20


def check_identifier(config: Path, weights: Path, shown: str) -> None:
    """Recompute the identifier of a bundle, without holding the tensors in memory.

    Args:
        config: Its ``config.yaml``.
        weights: Its ``weights.safetensors``.
        shown: Its place, for messages.

    Raises:
        InputError: if the content is not that of the identifier.
    """
    text = config.read_bytes()
    match = _LINE.match(text)
    if match is None:
        return
    digest = hashlib.sha256(text[match.end() :])
    try:
        _hash_tensors(weights, digest)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{shown}: its weights are damaged; run the command again, or give another URL."
        ) from error
    if digest.hexdigest()[:16].encode() != match[1]:
        raise InputError(
            f"{shown}: config and weights do not belong together, or are damaged; run the command again, or "
            "give another URL."
        )


def _hash_tensors(weights: Path, digest: hashlib._Hash) -> None:
    """Hash a safetensors file as it would be without its metadata."""
    with weights.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError("length of the header")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        plain = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        plain += b" " * (-len(plain) % 8)  # the tensors begin at a multiple of 8 bytes
        digest.update(len(plain).to_bytes(8, "little") + plain)
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
