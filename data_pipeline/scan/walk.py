"""The audio files of a collection: a folder, a file, a tar file, or anything that fsspec reads."""

from __future__ import annotations

import os
import stat
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from data_pipeline.scan.audio_kinds import ARCHIVES, AUDIO, HEAD, TAR, ending, is_audio_head
from data_pipeline.scan.file_scan import SourceFile, is_regular, plain
from lightning_n2m.storage import Location, filesystem, is_url, join, open_read

_UNPACK = "an archive; unpack it, or pack its files as an uncompressed .tar"
_SIDECARS = frozenset((".json", ".txt"))


def walk(
    source: Location, others: Counter[str] | None = None, used: Path | None = None
) -> Iterator[SourceFile]:
    """Audio files of a collection in the order of their names; memory does not grow with their number.

    Tar files are read where they are; other archives are reported as rejected. Files without an ending are
    recognised by their first bytes. Links are followed, and each folder is entered once. Hidden files are
    skipped.

    Args:
        source: A folder, an audio file or a tar file, or the URL of one.
        others: Counts the files that are neither audio nor beside an audio file of their name, by ending.
        used: A file of metadata that is read otherwise, and not counted.
    """
    walker = _Walker(others if others is not None else Counter(), used)
    if is_url(source):
        return walker.url(str(source))
    path = Path(source)
    return walker.folder(path) if path.is_dir() else walker.single(path)


def root_of(source: str) -> str:
    """The folder that all files of a collection are in; empty for a URL."""
    if is_url(source):
        return ""
    path = absolute(source)
    return str(path if path.is_dir() else path.parent)


def absolute(source: Location) -> Path:
    """An absolute path without ``..``, which behind a link leads to another folder than its text says."""
    path = Path(source)
    return Path(os.path.realpath(path)) if ".." in path.parts else Path(os.path.abspath(path))


class _Walker:
    def __init__(self, others: Counter[str], used: Path | None = None) -> None:
        self.others = others
        self.used = os.path.realpath(used) if used else ""

    def single(self, path: Path) -> Iterator[SourceFile]:
        path = absolute(path)
        names = {entry.name for entry in os.scandir(path.parent) if not entry.is_dir()}
        for entry in os.scandir(path.parent):
            if entry.name == path.name:
                yield from self._local(entry, plain(entry.name), names)

    def folder(self, source: Path) -> Iterator[SourceFile]:
        root = absolute(source)
        real_root = os.path.realpath(root)
        linked: set[str] = set()  # folders outside that links lead to

        def enter(folder: str, prefix: str) -> Iterator[SourceFile]:
            try:
                entries = list(os.scandir(folder))
            except OSError as error:
                detail = f"the folder cannot be read ({error.strerror})"
                yield SourceFile(folder, plain(prefix), reason="unreadable", detail=detail)
                return
            is_folder = {entry.name: entry.is_dir() for entry in entries}
            names = {name for name, folder_too in is_folder.items() if not folder_too}
            # A folder sorts as its contents do, so that names come in the order of the whole paths.
            entries.sort(key=lambda entry: entry.name + "/" * is_folder[entry.name])
            beside: set[str] = set()  # sidecar files of the folder's tracks
            for entry in entries:
                name = prefix + entry.name
                if entry.name.startswith("."):
                    continue
                if is_folder[entry.name]:
                    if entry.is_symlink():
                        target = os.path.realpath(entry.path)
                        inside = target == real_root or target.startswith(real_root + os.sep)
                        if inside or target in linked:
                            continue  # It is visited under its own name: otherwise a loop would never end.
                        linked.add(target)
                    yield from enter(entry.path, name + "/")
                else:
                    for file in self._local(entry, plain(name), names):
                        beside.update(map(os.path.basename, (file.json_sidecar, file.caption_sidecar)))
                        yield file
            known = (
                {os.path.basename(self.used)}
                if os.path.dirname(self.used) == os.path.realpath(folder)
                else set()
            )
            self._count_sidecars(names - beside - known)

        yield from enter(str(root), "")

    def _local(self, entry: os.DirEntry[str], name: str, names: set[str]) -> Iterator[SourceFile]:
        """A file of a folder whose files have these names; nothing, or the members of a tar file."""

        def head() -> bytes:
            with open(entry.path, "rb") as file:
                return file.read(HEAD)

        if self.used and os.path.realpath(entry.path) == self.used:
            return
        kind = self._kind(entry.name, head if is_regular(entry.path) else None)
        if not kind:
            return
        link = entry.is_symlink()
        try:
            status = entry.stat()
        except OSError as error:
            detail = f"it cannot be read ({error.strerror})"
            yield SourceFile(entry.path, name, is_link=link, reason="unreadable", detail=detail)
            return
        if not stat.S_ISREG(status.st_mode):
            yield SourceFile(
                entry.path, name, is_link=link, reason="unreadable", detail="it is not a regular file"
            )
            return
        stamp = f"{status.st_size}-{status.st_mtime_ns}"
        if kind == "archive":
            yield SourceFile(entry.path, name, stamp, is_link=link, reason="archive", detail=_UNPACK)
        elif kind == "tar":
            yield from self._tar(entry.path, name, stamp)
        else:
            folder = os.path.dirname(entry.path)
            sidecars = []
            for sidecar in _sidecars(entry.name, names):
                place = os.path.join(folder, sidecar) if sidecar else ""
                if place and is_regular(place):
                    beside = os.stat(place)
                    stamp += f"+{beside.st_size}-{beside.st_mtime_ns}"
                # A pipe or a dangling link stays in the list: reading it says why it is not used.
                sidecars.append(place)
            yield SourceFile(entry.path, name, stamp, sidecars[0], sidecars[1], link)

    def _kind(self, name: str, head: Callable[[], bytes] | None) -> str:
        """``audio``, ``tar``, ``archive``, or nothing for a file of another kind, which is counted."""
        suffix = ending(name)
        if suffix in AUDIO:
            return "audio"
        if suffix == TAR:
            return "tar"
        if suffix in ARCHIVES:
            return "archive"
        if not suffix and head is not None:
            try:
                if is_audio_head(head()):
                    return "audio"
            except OSError:
                return "audio"  # Reading it again gives the reason why it is rejected.
        if suffix not in _SIDECARS:
            self.others[suffix or "no ending"] += 1
        return ""

    def _count_sidecars(self, names: Iterable[str]) -> None:
        """Count captions and metadata that no audio file has the name of: one of the two is misspelt."""
        for name in names:
            if ending(name) in _SIDECARS and not name.startswith("."):
                self.others[f"{ending(name)} without an audio file of its name"] += 1

    def _tar(self, place: str, name: str, stamp: str) -> Iterator[SourceFile]:
        try:
            with open_read(place) as file:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    members = tar.getmembers()
                yield from self._members(place, name, stamp, members, file)
        except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError, RecursionError) as error:
            detail = f"it cannot be read as a tar file ({error})"
            yield SourceFile(place, name, stamp, reason="unreadable", detail=detail)

    def _members(
        self, place: str, name: str, stamp: str, members: list[tarfile.TarInfo], file: BinaryIO
    ) -> Iterator[SourceFile]:
        regular = {item.name: item for item in members if item.isreg() and not item.issparse()}
        places = {key: f"{place}::{item.offset_data}+{item.size}" for key, item in regular.items()}
        for item in members:
            base = os.path.basename(item.name)
            inside = f"{name}/{plain(item.name)}"
            if item.isdir() or base.startswith("."):
                continue

            def head(item: tarfile.TarInfo = item) -> bytes:
                file.seek(item.offset_data)
                return file.read(min(HEAD, item.size))

            kind = self._kind(base, head if item.name in regular else None)
            if kind in ("archive", "tar"):
                yield SourceFile(place, inside, stamp, reason="archive", detail=_UNPACK)
            elif kind and item.name not in regular:
                detail = "it is not a regular file"
                yield SourceFile(place, inside, stamp, reason="unreadable", detail=detail)
            elif kind:
                sidecars = [places.get(sidecar, "") for sidecar in _sidecars(item.name, places)]
                yield SourceFile(
                    places[item.name], inside, f"{stamp}+{item.offset_data}", sidecars[0], sidecars[1]
                )

    def url(self, root: str) -> Iterator[SourceFile]:
        system, top = filesystem(root)
        if system.isfile(top):
            folder, _, base = root.rpartition("/")
            inner = top.rpartition("/")[0]
            yield from self._url_folder(system, folder, inner, only=base)
        else:
            yield from self._url_folder(system, root, top)

    def _url_folder(self, system: object, root: str, top: str, only: str = "") -> Iterator[SourceFile]:
        def enter(folder: str, prefix: str) -> Iterator[SourceFile]:
            listing = system.ls(folder, detail=True)  # type: ignore[attr-defined]
            entries = {item["name"].rstrip("/").rpartition("/")[2]: item for item in listing}
            names = {base for base, item in entries.items() if item["type"] != "directory"}
            for base in sorted(entries, key=lambda base: base + "/" * (base not in names)):
                item, name = entries[base], prefix + base
                if base.startswith(".") or item["name"].rstrip("/") == folder.rstrip("/"):
                    continue
                if only and base != only:
                    continue
                if item["type"] == "directory":
                    yield from enter(item["name"], name + "/")
                    continue
                place = str(join(root, name))
                keys = ("ETag", "etag", "LastModified", "mtime", "updated", "created")
                stamp = f"{item['size']}-{next((item[key] for key in keys if item.get(key)), '')}"

                def head(place: str = place) -> bytes:
                    with open_read(place) as file:
                        return file.read(HEAD)

                kind = self._kind(base, head)
                if kind == "tar":
                    yield from self._tar(place, plain(name), stamp)
                elif kind == "archive":
                    yield SourceFile(place, plain(name), stamp, reason="archive", detail=_UNPACK)
                elif kind:
                    beside = _sidecars(base, names)
                    stamp += "".join(f"+{entries[sidecar]['size']}" for sidecar in beside if sidecar)
                    json_sidecar, captions = (str(join(root, prefix + s)) if s else "" for s in beside)
                    yield SourceFile(place, plain(name), stamp, json_sidecar, captions)

        yield from enter(top, "")


def _sidecars(name: str, names: Iterable[str]) -> tuple[str, str]:
    """Names of the JSON and of the caption file of an audio file; empty where there is none.

    NAME.json wins over NAME.wav.json.
    """
    stem = os.path.splitext(name)[0] if ending(name) else name
    found = []
    for suffix in (".json", ".txt"):
        options = (stem + suffix, name + suffix)
        found.append(next((option for option in options if option in names), ""))
    return found[0], found[1]
