"""Report the words of `banned_words.txt` in all tracked text files; exit code 1 if there are any.

python tools/check_prose.py [PATH ...]
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORDS = ROOT / "tools" / "banned_words.txt"
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".slurm", ".txt", ".cff", ".json", ""}
# Data and quoted material: texts that others wrote, or that a model reads.
EXCLUDED = ("tools/banned_words.txt", "tests/assets/", "constraints.txt", "LICENSE")


def banned_words() -> list[tuple[re.Pattern[str], str]]:
    """Patterns and what to say instead."""
    rules = []
    for line in WORDS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pattern, _, instead = line.partition("\t")
            # Identifiers count too: split at underscores.
            rules.append((re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", re.IGNORECASE), instead))
    return rules


def tracked_files(arguments: list[str]) -> list[Path]:
    """Text files under version control, below the given paths."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *arguments]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listing.split("\0") if name and not name.startswith(EXCLUDED)]
    return [path for name in names if (path := ROOT / name).suffix in SUFFIXES and path.is_file()]


def main(arguments: list[str]) -> int:
    """Print one line per finding."""
    rules = banned_words()
    findings = 0
    for path in tracked_files(arguments):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if "prose: allow" in line:
                continue
            for pattern, instead in rules:
                if match := pattern.search(line):
                    findings += 1
                    print(f"{path.relative_to(ROOT)}:{number}: '{match[0]}' (say: {instead})")
    print(f"{findings} banned words" if findings else "No banned words.")
    return int(findings > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
