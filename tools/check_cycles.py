"""Report import cycles between modules, with those inside functions and under TYPE_CHECKING.

import-linter ignores neither, but its layers compare packages; this compares single modules.
Exit code 1 if there is a cycle.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("lightning_n2m", "data_pipeline")


def modules() -> dict[str, Path]:
    """Every module of the packages by its dotted name."""
    found = {}
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: set[str]) -> set[str]:
    """Modules of the project that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # "from package import module" imports the module, "from module import name" its parent.
            names |= {
                full if (full := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            }
    return names & known


def main() -> int:
    """Print the first cycle."""
    files = modules()
    graph = {name: imports(path, set(files)) - {name} for name, path in files.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        print("Import cycle: " + " -> ".join(error.args[1]))
        return 1
    print(f"No import cycle among {len(files)} modules.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
