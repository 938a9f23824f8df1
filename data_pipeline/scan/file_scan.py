"""Where the audio of a track lies: a file, an object behind a URL, or a member of a tar file."""

from __future__ import annotations

import errno
import os
import re
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from lightning_n2m.errors import InputError
from lightning_n2m.storage import Location, filesystem, is_folder, is_url, join, open_read, read_bytes

# Endings taken for audio; those that libsndfile cannot read are named as unreadable, not passed over.
ENDINGS = (
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf",
    ".w64", ".rf64", ".m4a", ".aac", ".wma", ".mp4", ".ape", ".wv",
)  # fmt: skip
# A member of a tar file is known by its place in it: nothing is ever unpacked, whatever its name says.
_MEMBER = re.compile(r"(.+)::(\d+)\+(\d+)", re.DOTALL)


@dataclass(frozen=True)
class Origin:
    """A file of a collection.

    Args:
        path: Where it is: a path, a URL, or ``TAR::OFFSET+SIZE``.
        name: Its path within the collection, as text that can be written anywhere.
        stamp: Changes when the file does.
        sidecar: Where the JSON file of its name lies; empty when there is none.
        problem: Why it cannot be used, as far as that is known without opening it.
    """

    path: str
    name: str
    stamp: str = ""
    sidecar: str = ""
    problem: str = ""


def walk(source: Location) -> Iterator[Origin]:
    """Audio files below a folder or URL, in the order of their names; memory does not grow with their number.

    Tar files are looked into. Links are followed, each folder is entered once. Hidden files are passed over.
    """
    yield from _walk_url(str(source)) if is_url(source) else _walk_folder(Path(source))


def load(path: str) -> Path | bytes:
    """What `lightning_n2m.audio.io` can read: the path of a file, or else the bytes.

    Raises:
        OSError: if it is not there.
    """
    member = _MEMBER.fullmatch(path)
    if not member and not is_url(path):
        return Path(path)
    try:
        if not member:
            return read_bytes(path)
        with open_read(member[1]) as file:
            file.seek(int(member[2]))
            return file.read(int(member[3]))
    except (OSError, InputError):
        raise
    except Exception as error:  # every kind of storage has errors of its own
        raise OSError(errno.EIO, str(error) or type(error).__name__, path) from error


def check_mounted(path: str, root: str) -> None:
    """Tell a file that is gone from a disk that is gone: the first is passed over, the second ends the run.

    Args:
        path: A file that could not be read.
        root: Folder of the collection.

    Raises:
        InputError: if the disk of the file seems to be no longer mounted, or its bucket out of reach.
    """
    member = _MEMBER.fullmatch(path)
    file = member[1] if member else path
    if is_url(file):
        bucket = "/".join(file.split("/")[:3])
        try:
            reached = is_folder(bucket)
        except Exception:  # every kind of storage has errors of its own
            reached = False
        if not reached:
            raise InputError(f"{bucket} cannot be reached; once it can, run the same command again to go on.")
        return
    if not root:
        return
    folder = Path(file).parent
    try:
        # The nearest folder that is left; an empty one above the file's own is a mount point without a disk.
        while not folder.is_dir():
            folder = folder.parent
        lost = not folder.is_relative_to(root)
        if folder != Path(file).parent or folder == Path(root):
            lost = lost or next(os.scandir(folder), None) is None
    except OSError:
        lost = True
    if lost:
        raise InputError(
            f"{folder} no longer holds the music that was there (looking for {plain(file)}); mount its disk, "
            "then run the same command again to go on."
        )


def plain(text: str) -> str:
    """A name as text that can be written anywhere: bytes that are no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _is_audio(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in ENDINGS


def _walk_folder(root: Path) -> Iterator[Origin]:
    real_root = os.path.realpath(root)
    linked: set[str] = set()  # folders outside that links lead to

    def enter(folder: str, prefix: str) -> Iterator[Origin]:
        try:
            entries = list(os.scandir(folder))
        except OSError as error:
            yield Origin(folder, plain(prefix), problem=f"the folder cannot be read ({error.strerror})")
            return
        is_folder = {entry.name: entry.is_dir() for entry in entries}
        # A folder sorts as its contents do, so that names come in the order of the whole paths.
        entries.sort(key=lambda entry: entry.name + "/" * is_folder[entry.name])
        for entry in entries:
            name = prefix + entry.name
            if entry.name.startswith("."):
                continue
            if is_folder[entry.name]:
                if entry.is_symlink():
                    target = os.path.realpath(entry.path)
                    inside = target == real_root or target.startswith(real_root + os.sep)
                    if inside or target in linked:
                        continue  # It is visited by its own name: otherwise a loop would never end.
                    linked.add(target)
                yield from enter(entry.path, name + "/")
            elif entry.name.lower().endswith(".tar"):
                yield from _walk_tar(entry.path, plain(name), _stamp_of(entry))
            elif _is_audio(entry.name):
                beside = os.path.splitext(entry.name)[0] + ".json"
                sidecar = os.path.join(folder, beside) if is_folder.get(beside) is False else ""
                yield _file(entry, plain(name), sidecar)

    yield from enter(os.path.abspath(root), "")


def _stamp_of(entry: os.DirEntry[str] | Path) -> str:
    status = entry.stat()
    return f"{status.st_size}-{status.st_mtime_ns}"


def _file(entry: os.DirEntry[str], name: str, sidecar: str) -> Origin:
    try:
        if not stat.S_ISREG(entry.stat().st_mode):
            return Origin(entry.path, name, problem="it is no regular file")
        stamp = _stamp_of(entry) + (f"+{_stamp_of(Path(sidecar))}" if sidecar else "")
    except OSError as error:
        return Origin(entry.path, name, problem=f"it cannot be read ({error.strerror})")
    return Origin(entry.path, name, stamp, sidecar)


def _walk_tar(place: str, name: str, stamp: str) -> Iterator[Origin]:
    try:
        with open_read(place) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            members = tar.getmembers()
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        yield Origin(place, name, stamp, problem=f"it cannot be read as a tar file ({error})")
        return
    places = {item.name: f"{place}::{item.offset_data}+{item.size}" for item in members if item.isreg()}
    for item in members:
        inside = f"{name}/{plain(item.name)}"
        if not _is_audio(item.name) or item.isdir():
            continue
        if not item.isreg():
            yield Origin(place, inside, stamp, problem="it is no regular file")
            continue
        sidecar = places.get(os.path.splitext(item.name)[0] + ".json", "")
        yield Origin(places[item.name], inside, f"{stamp}+{item.offset_data}", sidecar)


def _walk_url(root: str) -> Iterator[Origin]:
    system, top = filesystem(root)

    def enter(folder: str, prefix: str) -> Iterator[Origin]:
        found = {item["name"].rstrip("/").rpartition("/")[2]: item for item in system.ls(folder, detail=True)}
        for base in sorted(found, key=lambda base: base + "/" * (found[base]["type"] == "directory")):
            item, name = found[base], prefix + base
            if base.startswith(".") or item["name"].rstrip("/") == folder.rstrip("/"):
                continue
            if item["type"] == "directory":
                yield from enter(item["name"], name + "/")
                continue
            place = str(join(root, name))
            keys = ("ETag", "etag", "LastModified", "mtime", "updated", "created")
            stamp = f"{item['size']}-{next((item[key] for key in keys if item.get(key)), '')}"
            if base.lower().endswith(".tar"):
                yield from _walk_tar(place, plain(name), stamp)
            elif _is_audio(base):
                beside = os.path.splitext(base)[0] + ".json"
                sidecar = str(join(root, prefix + beside)) if beside in found else ""
                yield Origin(place, plain(name), stamp, sidecar)

    yield from enter(top, "")
