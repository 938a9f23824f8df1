"""Lines of a program that is silent."""

from __future__ import annotations

import time

import pytest

from lightning_n2m import heartbeat as module
from lightning_n2m.heartbeat import heartbeat, line_printed, paused, set_line


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST", 0.06)
    monkeypatch.setattr(module, "INTERVAL", 0.4)


def lines(capsys: pytest.CaptureFixture[str]) -> set[str]:
    return set(capsys.readouterr().err.splitlines())


def test_a_silent_program_prints_that_it_runs(capsys: pytest.CaptureFixture[str]) -> None:
    with heartbeat("n2m fit"):
        time.sleep(0.3)
        assert lines(capsys) == {"n2m fit: loading ..."}
        time.sleep(0.5)
        assert lines(capsys) == {"n2m fit: loading ..."}
    time.sleep(0.5)
    assert capsys.readouterr().err == ""


def test_other_lines_defer_it(capsys: pytest.CaptureFixture[str]) -> None:
    with heartbeat("n2m fit", first=0.3):
        for _ in range(5):
            time.sleep(0.12)
            line_printed()
    assert capsys.readouterr().err == ""


def test_the_line_is_what_the_program_does(capsys: pytest.CaptureFixture[str]) -> None:
    with heartbeat("n2m fit"):
        set_line(lambda: "step 3/4", interval=0.1)
        time.sleep(0.3)
        assert lines(capsys) == {"step 3/4"}
        set_line(None)
        time.sleep(0.6)
        assert lines(capsys) == {"n2m fit: working ..."}


def test_a_pause_is_silent_and_ends_with_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with heartbeat("n2m-data shard"):
        with paused():
            time.sleep(0.6)
        assert capsys.readouterr().err == ""
        time.sleep(0.6)
        assert lines(capsys) == {"n2m-data shard: working ..."}


def test_without_a_command_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    set_line(lambda: "step 3/4", interval=0.01)
    with paused():
        line_printed()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""
