"""Sound fonts, drum kits and drum loops of the corpus. The list is sounds.toml."""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

Edition = Literal[1, 2]


@dataclass(frozen=True)
class Font:
    """A General MIDI sound font.

    Args:
        name: Its name, as in the facts of a piece.
        package: Debian package that holds it.
        path: Path within the package.
        licence: Licence of its samples, by SPDX name.
        edition: First edition of the corpus that draws from it.
        replaced: Programs that FluidR3_GM plays instead.
    """

    name: str
    package: str
    path: str
    licence: str
    edition: int
    replaced: tuple[int, ...] = ()


@dataclass(frozen=True)
class Kit:
    """A recorded drum kit as a sound font; ``keys`` are the General MIDI drum keys that it plays."""

    name: str
    package: str
    path: str
    licence: str
    edition: int
    keys: tuple[int, ...]


@dataclass(frozen=True)
class Loop:
    """A recorded drum loop in 4/4.

    Args:
        name: Its name, as in the facts of a piece.
        file: Its file in the Debian package ``sonic-pi-samples``.
        beats: Its length in beats.
        tempo: Tempo of the recording in beats per minute.
    """

    name: str
    file: str
    beats: int
    tempo: float


@functools.cache
def _sounds() -> dict[str, list[dict[str, Any]]]:
    text = resources.files(__package__).joinpath("sounds.toml").read_text(encoding="utf-8")
    return {
        kind: [{k: tuple(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
        for kind, rows in tomllib.loads(text).items()
    }


def fonts(edition: Edition) -> dict[str, Font]:
    """Sound fonts of an edition, by name."""
    return {row["name"]: Font(**row) for row in _sounds()["font"] if row["edition"] <= edition}


def kits(edition: Edition) -> dict[str, Kit]:
    """Recorded drum kits of an edition, by name."""
    return {row["name"]: Kit(**row) for row in _sounds()["kit"] if row["edition"] <= edition}


def loops() -> dict[str, Loop]:
    """Recorded drum loops, by name; the first edition has none."""
    return {row["name"]: Loop(**row) for row in _sounds()["loop"]}


def licence(font: str, kit: str) -> str:
    """Licence of a piece: CC0 where its samples allow it, else that of the strictest of its samples."""
    sounds = [fonts(2)[font].licence, *([kits(2)[kit].licence] if kit else [])]
    restricted = [name for name in sounds if name != "MIT"]
    return restricted[-1] if restricted else "CC0-1.0"
