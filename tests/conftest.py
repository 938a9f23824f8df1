"""Settings of all tests."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import settings

# A missing model must fail at once, without a network request.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples on every machine, however slow it is.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")

torch.set_num_threads(1)

# MuQ does not run beside transformers 5. Everything else that tests need is installed or fetched.
ALLOWED_SKIPS = ("muq",)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """In CI a skipped test is a failure: what it needs is missing from the project's own requirements."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if not os.environ.get("CI") or reporter is None or hasattr(session.config, "workerinput"):
        return
    skips = [report for report in reporter.stats.get("skipped", []) if not hasattr(report, "wasxfail")]
    unexpected = [
        f"{report.nodeid}: {report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr}"
        for report in skips
        if not any(name in report.nodeid.lower() for name in ALLOWED_SKIPS)
    ]
    for line in (
        *(f"skipped: {report.nodeid}" for report in skips),
        *(f"NOT ALLOWED: {u}" for u in unexpected),
    ):
        reporter.write_line(line)
    if unexpected and not exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
