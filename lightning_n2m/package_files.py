"""Recipes and starter weights that come with the project, and stage folders at URLs."""

from __future__ import annotations

from pathlib import Path

from lightning_n2m.storage import is_url

_PACKAGE = Path(__file__).resolve().parent
# An installed package carries configs/ itself; in a checkout it lies beside the package, as pretrained/ does.
_ROOTS = (_PACKAGE, _PACKAGE.parent)


def find_recipe(name: str) -> Path | None:
    """A recipe by its path, or by its name in the project's ``configs`` folder.

    Args:
        name: A path, ``configs/paper/x.yaml`` or ``paper/x.yaml``; a file of the working folder comes first.

    Returns:
        Path of the recipe; none where there is no such file.
    """
    path = Path(name)
    if path.exists() or path.is_absolute():
        return path if path.exists() else None
    relative = name.removeprefix("configs/")
    for root in _ROOTS:
        recipe = root / "configs" / relative
        if recipe.is_file() and recipe.resolve().is_relative_to(root / "configs"):
            return recipe
    return None


def recipe_names(folder: str) -> list[str]:
    """Names of the recipes of one folder of ``configs``, without their ending."""
    for root in _ROOTS:
        names = sorted(path.stem for path in (root / "configs" / folder).glob("*.yaml"))
        if names:
            return names
    return []


def find_stage_folder(name: str | Path) -> Path:
    """A stage folder by its path or URL, or that of the starter's weights in a checkout of the project.

    Args:
        name: A path; ``pretrained/x`` is also found from another working folder. Or a URL, which is
            downloaded into the cache, see `lightning_n2m.remote.bundles.fetch_bundle`.

    Returns:
        The folder; the path itself where there is none.

    Raises:
        InputError: if the URL gives no bundle.
    """
    if is_url(name):
        # Imported late: most commands contact no server.
        from lightning_n2m.remote.bundles import fetch_bundle

        return fetch_bundle(str(name))
    path = Path(name)
    checkout = _PACKAGE.parent / path
    if not path.exists() and str(name).startswith("pretrained/") and checkout.is_dir():
        return checkout
    return path
