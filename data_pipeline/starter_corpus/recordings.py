"""Recorded music under Creative Commons licences, from Debian packages. The list is in recordings.toml."""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from data_pipeline.starter_corpus import debian
from lightning_n2m.errors import InputError
from lightning_n2m.storage import atomic_path


@dataclass(frozen=True)
class Package:
    """A Debian package with music.

    Args:
        name: Name of the package.
        pattern: Its music files, as a glob from its root.
        licence: Licence of the music.
        proof: Regular expression that the package's copyright file, its white space made single, must
            hold: what is given away later must be allowed by the source, not by our list.
        artist: Artist, where the files do not say.
        album: Album; it goes before what the files say.
        genres: Genres of all its tracks, after what the files say.
        title: Regular expression whose group is the title within a file name; the files' own titles
            are then ignored.
        skip: Files to leave out, by name without ending: they are no music, or twice there.
        stems: Whether each folder holds one song as several stems, to be added up.
    """

    name: str
    pattern: str
    licence: str
    proof: str
    artist: str = ""
    album: str = ""
    genres: tuple[str, ...] = ()
    title: str = ""
    skip: tuple[str, ...] = ()
    stems: bool = False


def packages() -> list[Package]:
    """The packages of recordings.toml."""
    text = resources.files(__package__).joinpath("recordings.toml").read_text(encoding="utf-8")
    return [Package(**values) for values in tomllib.loads(text)["package"]]


def fetch(folder: Path, cache: Path) -> list[dict[str, object]]:
    """Copy the music of all packages into a folder, and collect its metadata.

    Args:
        folder: Where the recordings go, in one folder a package.
        cache: Folder that keeps unpacked Debian packages.

    Returns:
        Metadata of each file, with ``path`` relative to the parent of the folder.

    Raises:
        InputError: if a package cannot be downloaded, or its copyright file does not say what is expected.
    """
    lines = []
    for package in packages():
        root = debian.package(package.name, cache)
        _prove(package, root)
        files = sorted(path for path in root.glob(package.pattern) if path.stem not in package.skip)
        if not files:
            raise InputError(f"The Debian package {package.name} holds no {package.pattern}; use Debian 12.")
        target = folder / package.name
        target.mkdir(parents=True, exist_ok=True)
        if package.stems:
            songs = sorted({path.parent for path in files})
            copies = [
                _add_up([path for path in files if path.parent == song], target / f"{song.name}.flac")
                for song in songs
            ]
        else:
            copies = [_copy(path, target / path.name) for path in files]
        lines += [
            {"path": path.relative_to(folder.parent).as_posix(), **_facts(package, path)} for path in copies
        ]
    return lines


def _prove(package: Package, root: Path) -> None:
    path = root / "usr/share/doc" / package.name / "copyright"
    text = " ".join(path.read_text(encoding="utf-8", errors="replace").split()) if path.is_file() else ""
    if not re.search(package.proof, text):
        raise InputError(
            f"{path} no longer says that the music is under {package.licence}; "
            "use Debian 12, or leave the recordings out with --recorded false."
        )


def _copy(source: Path, target: Path) -> Path:
    if not target.exists():
        with atomic_path(target) as part:
            shutil.copyfile(source, part)
    return target


def _add_up(stems: list[Path], target: Path) -> Path:
    """Mix the stems of one song, turned down together where they would clip."""
    if not target.exists():
        import torch

        from lightning_n2m.audio import io

        parts = [io.read(path) for path in stems]
        frames = min(part.samples.shape[-1] for part in parts)
        mixed = torch.stack([part.samples[:, :frames] for part in parts]).sum(dim=0)
        io.write(target, mixed / max(1.0, float(mixed.abs().max()) / 0.95), parts[0].sample_rate)
    return target


def _facts(package: Package, path: Path) -> dict[str, object]:
    from lightning_n2m.audio import io

    tags = io.probe(path).tags
    name = re.fullmatch(package.title, path.stem) if package.title else None
    title = "" if name else tags.get("title", "")
    words = re.sub(r"[_\W\d]+", " ", name[1] if name else path.stem)
    genre = tags.get("genre", "").lower()
    return {
        "title": title or words.strip().capitalize() or path.stem,
        "artist": tags.get("artist") or package.artist,
        "album": package.album or tags.get("album", ""),
        "year": tags.get("date", "")[:4],
        "genres": list(dict.fromkeys([*([genre] if genre not in ("", "game") else []), *package.genres])),
        "licence": package.licence,
        "source": f"Debian package {package.name}",
    }
