from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lightning_n2m.networks.adapters import AdapterSettings
from tests.browser import chromium
from tests.paths import ROOT
from tests.stages.test_adapters import make_adapter
from tests.web_page import open_page

MAX_QUEUE = 20


@dataclass(frozen=True)
class Server:
    """A playground in a process of its own."""

    url: str
    pid: int

    def peak_memory(self) -> int:
        """Largest resident memory so far, in bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) * 1024


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on a free port, with small bounds and one adapter, whose tensors are random."""
    adapter = tmp_path_factory.mktemp("adapter") / "style"
    settings = AdapterSettings("lora", rank=2, alpha=4.0, layers=["blocks_*"])
    make_adapter(ROOT / "pretrained" / "spectrogram_generator", adapter, settings=settings)
    log = tmp_path_factory.mktemp("playground") / "log.txt"
    command = [sys.executable, "-u", "-m", "lightning_n2m.playground", "--port", "0", "--max_upload_mb", "20"]
    command += ["--max_queue", str(MAX_QUEUE), "--adapters.style", str(adapter)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    try:
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found, line + log.read_text()
        yield Server(found[0], process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 128 + signal.SIGINT, log.read_text()
    # Gradio prints a traceback for each value that its components refuse; there must be no other.
    errors = re.findall(r"^Traceback.*\n(?:[ \t].*\n|\n)*(.*)", log.read_text(), re.MULTILINE)
    assert all(error.startswith("gradio.exceptions.Error: ") for error in errors), log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    # Not of the session: playwright's event loop would run on in other files, which start their own.
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page in a tab; errors on the console and requests to other hosts fail the test."""
    with open_page(browser, server.url, hosts=(server.url,)) as tab:
        tab.wait_for_selector("#generate")
        yield tab
