"""`n2m push`: uploads a bundle, or a folder of bundles, to a model hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning_n2m.cli.parser import CommandParser
from lightning_n2m.errors import InputError
from lightning_n2m.interrupts import raise_on_interrupt
from lightning_n2m.remote.hub import HubPlace, hub_endpoint, hub_token

DESCRIPTION = """Upload a bundle that 'export' wrote, or a folder of such bundles, to a repository of a model
hub. The repository is made if it does not exist. Uploaded are the bundles, their cards (README.md),
evaluation.json,
and pictures and clips of the cards; nothing else. The user's token is that of 'hf auth login' or HF_TOKEN."""

# Endings of files that belong to a card; everything else stays on this machine.
_CARD_FILES = (".md", ".png", ".jpg", ".flac", ".ogg", ".wav")
_MAX_FILES = 1000


def push(args: Sequence[str]) -> None:
    """Upload a folder.

    Args:
        args: Options of the command.

    Raises:
        InputError: if an option is wrong, the folder holds no valid bundle, or the hub refuses the upload.
    """
    parser = CommandParser("push", DESCRIPTION)
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="a bundle, or a folder of bundles")
    parser.add_argument("place", metavar="hf://ORG/NAME[/FOLDER][@BRANCH]", help="where to")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--message", default=None, help="message of the commit")
    options = parser.parse_args(args)
    raise_on_interrupt()

    from lightning_n2m.cli.card import CARD, has_front_matter
    from lightning_n2m.remote.bundles import is_offline

    if not options.place.startswith("hf://"):
        raise InputError(
            f"push: {options.place[:200]} is not on a hub; give hf://ORG/NAME[/FOLDER][@BRANCH]."
        )
    place = HubPlace.parse(options.place)
    bundles = find_local_bundles(options.folder)
    for bundle in bundles:
        _check(bundle, bundles)
    files = files_to_upload(options.folder, bundles)
    if is_offline():
        raise InputError("push: N2M_OFFLINE or HF_HUB_OFFLINE is set; unset it to upload.")
    if hub_token() is None:
        raise InputError("push: there is no token for the hub; run 'hf auth login', or set HF_TOKEN.")
    if not has_front_matter(options.folder / CARD):
        print(f"warning: {options.folder / CARD} has no front matter; 'n2m export --card' writes it.")
    url = upload(files, place, options.private, options.message or f"Upload {options.folder.resolve().name}")
    size = sum(path.stat().st_size for path in files.values()) / 1e6
    print(f"{len(files)} files ({size:.1f} MB) of {len(bundles)} bundles are at {url}.")
    print(f"Next: from_pretrained({str(place)!r}) or --model.generator.folder {place}")


def find_local_bundles(folder: Path) -> list[Path]:
    """A folder itself if it is a bundle, otherwise the bundles directly in it.

    Raises:
        InputError: if there are none.
    """
    from lightning_n2m.stages.bundle import CONFIG
    from lightning_n2m.stages.bundle_weights import WEIGHTS

    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; give one that 'export' wrote.")
    candidates = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    bundles = [path for path in candidates if (path / CONFIG).is_file() and (path / WEIGHTS).is_file()]
    if folder in bundles:
        return [folder]
    if not bundles:
        hint = (
            "'n2m export' it first" if (folder / "checkpoints").is_dir() else "give one that 'export' wrote"
        )
        raise InputError(f"{folder} holds no bundle ({CONFIG} and {WEIGHTS}); {hint}.")
    return bundles


def _check(bundle: Path, bundles: Sequence[Path]) -> None:
    """Load a bundle: a damaged one, or one without its base, is not uploaded."""
    from lightning_n2m.mulan.bundle import load_towers
    from lightning_n2m.stages.adapters import read_adapter
    from lightning_n2m.stages.bundle import load_stage, read_config, read_document
    from lightning_n2m.stages.low_rank import SECTION, Base

    document, _ = read_document(bundle)
    if "model" not in document:
        read_adapter(bundle)
        return
    if SECTION in document and Base.beside(bundle, document[SECTION]).path.name not in {
        path.name for path in bundles
    }:
        raise InputError(
            f"{bundle} is stored as a difference from another bundle; 'n2m export' it, which stores it "
            "whole, or push the folder that holds both."
        )
    is_joint = str(read_config(bundle)["class_path"]).startswith("lightning_n2m.mulan.")
    (load_towers if is_joint else load_stage)(bundle)


def files_to_upload(folder: Path, bundles: Sequence[Path]) -> dict[str, Path]:
    """Files by their path below the folder: bundles, cards, and what cards show.

    Raises:
        InputError: if there are too many, or a link leads out of the folder.
    """
    from lightning_n2m.stages.bundle import CONFIG
    from lightning_n2m.stages.bundle_weights import WEIGHTS, regular_file

    files = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_hidden = any(part.startswith(".") for part in Path(name).parts)
        is_bundle_file = path.parent in bundles and path.name in (CONFIG, WEIGHTS)
        is_card_file = path.suffix.lower() in _CARD_FILES or path.name == "evaluation.json"
        if path.is_file() and not is_hidden and (is_bundle_file or is_card_file):
            files[name] = regular_file(folder, name)
    if len(files) > _MAX_FILES:
        raise InputError(
            f"{folder} holds {len(files)} files to upload, more than {_MAX_FILES}; give a bundle."
        )
    return files


def upload(files: dict[str, Path], place: HubPlace, is_private: bool, message: str) -> str:
    """Upload files in one commit.

    Args:
        files: Local files by their path below the place.
        place: The folder on the hub.
        is_private: Make a new repository private.
        message: Message of the commit.

    Returns:
        URL of the folder on the hub.

    Raises:
        InputError: if the hub refuses the upload or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi(endpoint=hub_endpoint(), token=hub_token())
    branch = place.revision or "main"
    try:
        api.create_repo(place.repository, private=is_private or None, exist_ok=True)
        if branch != "main":
            api.create_branch(place.repository, branch=branch, exist_ok=True)
        operations = [CommitOperationAdd(place.join(name).folder, str(path)) for name, path in files.items()]
        api.create_commit(place.repository, operations, commit_message=message, revision=branch)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{place} cannot be uploaded: {reason}; check the name and the token.") from error
    return f"{hub_endpoint()}/{place.repository}/tree/{branch}/{place.folder}".rstrip("/")
