"""Ctrl-C while a program loads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lightning_n2m.interrupts import exit_on_interrupt, raise_on_interrupt
from tests.paths import ROOT

# A module that drops an exception in the middle of its import, as NumPy may.
LOADS = """
import time
print("loads", flush=True)
try:
    time.sleep(20)
except BaseException:
    pass
"""


@pytest.mark.parametrize(
    ("arguments", "module"),
    [
        (["lightning_n2m", "fit"], "lightning_n2m.cli.lightning_cli"),
        (["lightning_n2m", "export", "run", "bundle"], "lightning_n2m.stages.bundle"),
        (["data_pipeline", "shard"], "data_pipeline.shard"),
    ],
)
def test_an_interrupt_during_an_import_ends_the_process(
    arguments: list[str], module: str, tmp_path: Path
) -> None:
    (tmp_path / "loads.py").write_text(LOADS)
    code = (
        "import importlib.abc, importlib.util, runpy, sys\n"
        "class Finder(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            return importlib.util.spec_from_file_location(name, {str(tmp_path / 'loads.py')!r})\n"
        "sys.meta_path.insert(0, Finder())\n"
        f"sys.argv = {arguments!r}\n"
        f"runpy.run_module({arguments[0]!r}, run_name='__main__')\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "loads\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read().splitlines()
        assert process.wait() == 130
        assert time.monotonic() - began < 10
    assert errors[-1] == "Interrupted." and "Traceback" not in "".join(errors)


def test_afterwards_an_interrupt_is_an_exception_again() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        exit_on_interrupt()
        raise_on_interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise_on_interrupt()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
