"""A mutation harness over every reader: seeded damage, and what no input may cause.

`python -m tests.integration.fuzzing --inputs 20000` (or `make fuzz`) tries more inputs than the tests do.
An input is one mutation of a valid file. A reader may accept it or refuse it by an `InputError` (exit code
2). Everything else is a finding: another exception, more than `SECONDS` of computing, more than `MEMORY`
bytes, a file written or removed outside of the reader's own folder, a program started, or a module imported
that a damaged file named.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError

SECONDS = 30  # of computing
PATIENCE = 10  # times this long it may wait: for a processor that others use, or for nothing
MEMORY = 2_000_000_000
# Strings that have broken readers, in this project and in others.
TOKENS = (
    "../../outside", "/etc/passwd", "..", "null", "NaN", "Infinity", "-Infinity", "1e999", "-1", "0",
    "99999999999999999999", "true", "[]", "{}", '""', "\x00", "\x1b[31m", "\u202e", "\ufeff", "é",
    "[" * 2000, '{"a":' * 500, "&a [*a, *a]", "!!python/object/apply:os.system ['true']",
    "<script>alert(1)</script>", "fuzz_canary.Canary", "os.system", "subprocess.Popen",
    "lightning_n2m.errors.InputError", "package:os/../..", "a" * 5000,
    "2026-13-45", "\n", "\r\n", ",", ";", "\t", '"', "'", "`", "$(touch outside)",
)  # fmt: skip


@dataclass(frozen=True)
class Reader:
    """Something that reads a file or folder which may come from a stranger.

    Args:
        name: Name of the reader.
        seed: Valid file or folder.
        target: Files that are mutated: one of them at a time, as glob patterns from the seed; ``""`` for the
            seed itself when it is a file.
        read: Reads the mutated copy. A returned exit code other than 0 and 2 is a finding.
        weight: Share of the inputs.
    """

    name: str
    seed: Path
    target: tuple[str, ...]
    read: Callable[[Path], Any]
    weight: float = 1.0


@dataclass(frozen=True)
class Finding:
    """An input that did what no input may: how to repeat it, and what happened."""

    reader: str
    number: int
    file: str
    problem: str

    def __str__(self) -> str:
        return f"{self.reader} {self.number} ({self.file}): {self.problem}"


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Damage a file in one of the ways in which files are damaged, or forged."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(changed) + 1)
        kind = rng.randrange(9)
        if kind == 0 and changed:  # flip bits
            for _ in range(rng.choice((1, 3, 20))):
                place = rng.randrange(len(changed))
                changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:  # truncate
            del changed[at:]
        elif kind == 2:  # cut out a piece
            del changed[at : at + rng.choice((1, 8, 200, 5000))]
        elif kind == 3:  # repeat a piece
            changed[at:at] = changed[at : at + rng.choice((1, 8, 200, 5000))]
        elif kind == 4:  # random bytes
            changed[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
        elif kind == 5:  # extreme lengths, in binary formats
            changed[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\x7f\xff\xff\xff"))
        elif kind == 6:  # insert a token
            changed[at:at] = rng.choice(TOKENS).encode()
        else:  # replace a value of a text format by a token
            values = list(_values(bytes(changed)))
            if values:
                start, end = rng.choice(values)
                changed[start:end] = rng.choice(TOKENS).encode()
    return bytes(changed)


def _values(data: bytes) -> Iterator[tuple[int, int]]:
    """Places of what looks like a value: after a colon, a comma or an opening bracket, up to the next one."""
    start = 0
    for place, byte in enumerate(data[:20_000]):
        if byte in b':,[]{}"\n\t=':
            if place > start:
                yield start, place
            start = place + 1


class Guard:
    """Watches what an input makes the process do, by the audit events of Python."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.violations: list[str] = []
        self.active = False
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event in ("os.system", "os.exec", "os.posix_spawn", "os.spawn"):
            self.violations.append(f"{event} {args}")
        elif event == "subprocess.Popen":
            if not Path(str(args[0])).name.startswith("ffmpeg"):
                self.violations.append(f"{event} {args[0]} {args[1]}")
        elif event in ("os.remove", "os.rmdir", "os.mkdir", "os.rename", "shutil.rmtree"):
            # Relative to an open folder: part of an rmtree, whose own event names the path.
            if event not in ("os.remove", "os.rmdir") or args[1] == -1:
                self._check_path(event, args[0])
        elif event == "open" and isinstance(args[0], str | bytes):
            mode, flags = args[1], args[2] or 0
            writes = mode is not None and set(str(mode)) & set("wax+")
            if writes or (mode is None and flags & 0o1103):  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC
                self._check_path(event, args[0])

    def _check_path(self, event: str, path: Any) -> None:
        text = str(Path(path.decode() if isinstance(path, bytes) else str(path)).absolute())
        # "__pycache__": a module that is imported for the first time.
        if not text.startswith(self.allowed) and "__pycache__" not in text:
            self.violations.append(f"{event} {text}")


_GUARD: Guard | None = None


@contextlib.contextmanager
def limits(folder: Path) -> Iterator[Guard]:
    """Time, memory and file system that one input may use."""
    global _GUARD
    if _GUARD is None:
        _GUARD = Guard()
    guard = _GUARD

    started, used = time.monotonic(), time.process_time()

    def out_of_time(*_: Any) -> None:
        computed, waited = time.process_time() - used, time.monotonic() - started
        # On a busy machine, a reader may wait for the processor.
        if computed < 0.9 * SECONDS and waited < (PATIENCE - 0.1) * SECONDS:
            signal.alarm(SECONDS)
            return
        raise TimeoutError(f"{computed:.0f} s of computing in {waited:.0f} s, more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(SECONDS)
    guard.allowed = (str(folder.absolute()), "/dev/", "/proc/")
    guard.violations = []
    temporary, tempfile.tempdir = tempfile.tempdir, str(folder)
    guard.active = True
    try:
        yield guard
    finally:
        guard.active = False
        tempfile.tempdir = temporary
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def memory(kind: str) -> int:
    """Bytes of this process in memory: ``VmRSS`` now, ``VmHWM`` at the peak."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]


def try_input(reader: Reader, number: int, root: Path) -> Finding | None:
    """Mutate one file of a reader's seed and read the result.

    Args:
        reader: The reader.
        number: Number of the input; the same number gives the same mutation.
        root: Folder for the copies.
    """
    rng = random.Random(f"fuzz {reader.name} {number}")
    folder = root / f"{reader.name}-{number}"
    copy = folder / reader.seed.name
    folder.mkdir(parents=True)
    if reader.seed.is_dir():
        shutil.copytree(reader.seed, copy)
        files = sorted(p for pattern in reader.target for p in copy.glob(pattern) if p.is_file())
    else:
        shutil.copy(reader.seed, copy)
        files = [copy]
    victim = rng.choice(files)
    victim.write_bytes(mutate(victim.read_bytes(), rng))
    problem = ""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = memory("VmRSS")
    output, errors = io.StringIO(), io.StringIO()
    with limits(folder) as guard, contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            code = reader.read(copy)
            if code not in (0, 2, None) and isinstance(code, int):
                problem = f"exit code {code}"
        except InputError as error:
            if "\n" in str(error).strip() or "\x1b" in str(error):
                problem = f"a message of several lines or with control characters: {str(error)[:200]!r}"
        except SystemExit as error:
            if error.code not in (0, 2, None):
                problem = f"exit code {error.code}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            where = traceback.extract_tb(error.__traceback__)[-1]
            problem = (
                f"{type(error).__name__}: {str(error)[:160]} ({Path(where.filename).name}:{where.lineno})"
            )
    if guard.violations:
        problem = guard.violations[0]
    if "Traceback (most recent call last)" in errors.getvalue():
        problem = problem or "a traceback on standard error"
    grown = memory("VmHWM") - before
    if grown > MEMORY:
        problem = problem or f"{grown / 1e9:.1f} GB of memory"
    if sys.modules.pop("fuzz_canary", None):
        problem = "imported a module that the file named"
    relative = str(victim.relative_to(folder))
    shutil.rmtree(folder, ignore_errors=True)
    return Finding(reader.name, number, relative, problem) if problem else None


def run(readers: list[Reader], inputs: int, seed: int, root: Path) -> tuple[Counter[str], list[Finding]]:
    """Try inputs, shared out over the readers by weight.

    Args:
        readers: All readers.
        inputs: Number of inputs.
        seed: Number of the first input.
        root: Folder for the copies; must be empty.

    Returns:
        Inputs by reader, and what was found; after Ctrl-C those so far.
    """
    total = sum(reader.weight for reader in readers)
    tried: Counter[str] = Counter()
    findings = []
    try:
        for reader in readers:
            for number in range(seed, seed + max(1, round(inputs * reader.weight / total))):
                if finding := try_input(reader, number, root):
                    findings.append(finding)
                    print(
                        f"{finding.reader} {finding.number} ({finding.file}): {finding.problem}", flush=True
                    )
                tried[reader.name] += 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    return tried, findings


def main() -> int:
    """Run from the command line; exit code 1 if anything was found."""
    from tests.integration.fuzz_readers import all_readers

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--readers", nargs="*", default=[], help="names of readers; all when none is given")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        readers = [
            reader
            for reader in all_readers(Path(folder) / "seeds")
            if not options.readers or reader.name in options.readers
        ]
        started = time.monotonic()
        tried, findings = run(readers, options.inputs, options.seed, Path(folder) / "inputs")
    print(f"{sum(tried.values())} inputs in {time.monotonic() - started:.0f} s: {dict(tried)}")
    print(f"{len(findings)} findings")
    return int(bool(findings))


if __name__ == "__main__":
    sys.exit(main())
