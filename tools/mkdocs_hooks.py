"""MkDocs hooks: files outside docs/ become part of the site, and links keep their repository form.

A page links to a file as it would on disk (``../pretrained/README.md``), so that the link works in the
repository, in an editor and on the site. A link to a file that the site does not have is reported by
``mkdocs build --strict``.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# What pages link to, besides the pages in docs/.
ROOT_FILES = ("*.md", "CITATION.cff", "Makefile", "environment.yml", "pyproject.toml")
FOLDERS = (
    "benchmarks",
    "configs",
    "data_pipeline",
    "docs",
    "examples",
    "lightning_n2m",
    "pretrained",
    "tools",
)
SUFFIXES = {
    ".env",
    ".flac",
    ".jpg",
    ".json",
    ".md",
    ".ogg",
    ".png",
    ".py",
    ".slurm",
    ".toml",
    ".txt",
    ".yaml",
}
LINK = re.compile(r"(?P<open>!?\[[^\]]*\]\()(?P<target>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?P<close>\))")


def site_path(path: str) -> str:
    """Where the site has a file of the repository: pages in docs/ lie at the root."""
    return path.removeprefix("docs/")


def on_files(files: Files, config: Any) -> Files:
    """Add the files outside docs/ to the site."""
    paths = [path for pattern in ROOT_FILES for path in ROOT.glob(pattern)]
    for folder in FOLDERS:
        paths += [path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES]
    for path in sorted(paths):
        destination = site_path(path.relative_to(ROOT).as_posix())
        if destination not in files.src_uris:
            files.append(File.generated(config, destination, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn links between files of the repository into links between files of the site."""
    source = page.file.src_uri
    repository_path = source if (ROOT / source).is_file() else f"docs/{source}"

    def rewrite(match: re.Match[str]) -> str:
        target = match["target"]
        if re.match(r"[a-z]+:", target):
            return match[0]
        resolved = posixpath.normpath(posixpath.join(posixpath.dirname(repository_path), target))
        relative = posixpath.relpath(site_path(resolved), posixpath.dirname(source) or ".")
        return f"{match['open']}{relative}{match['anchor'] or ''}{match['close']}"

    return LINK.sub(rewrite, markdown)
