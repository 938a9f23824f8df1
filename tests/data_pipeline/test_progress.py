"""Progress in a log and on a narrow terminal."""

from __future__ import annotations

import io
import re
import time
from datetime import datetime, timedelta

import pytest

from data_pipeline import progress as module
from data_pipeline.progress import progress


def test_a_log_gets_a_line_in_every_interval_even_if_no_unit_finishes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_SECONDS", 0.01)
    monkeypatch.setattr(module, "_LINE_SECONDS", 0.1)
    with progress("sharding", 10, "clips", done=4) as report:
        time.sleep(0.55)
        report(6)
    lines = capsys.readouterr().err.splitlines()
    assert 4 <= len(lines) <= 8
    assert lines[0].startswith("sharding: 4/10 clips")
    assert re.fullmatch(r"sharding: 10/10 clips, \d+ clips/min, took 0:00:01", lines[-1])


def test_units_of_a_log_do_not_each_print_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("sharding", 1000, "clips") as report:
        for _ in range(1000):
            report()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_an_error_stops_the_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_SECONDS", 0.02)
    with pytest.raises(ValueError, match="stop"), progress("sharding", 10, "clips"):
        raise ValueError("stop")
    capsys.readouterr()
    time.sleep(0.1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("seconds_per_unit", [1e-4, 1.0, 1e6])
def test_a_line_fits_80_columns_and_states_rate_and_end(
    seconds_per_unit: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    counter = module._Counter(99_999_999, "clips", 0)
    counter.done, now = 1000, 1000 * seconds_per_unit
    state = counter.state()
    assert len(f"verifying 3200: 99999999/99999999 clips, {state}") <= 80
    rate, unit = re.match(r"([\d.]+) (\w+)/min, ends ", state).groups()  # type: ignore[union-attr]
    assert unit == "clips"
    assert float(rate) == pytest.approx(60 / seconds_per_unit, rel=0.05, abs=0.05)


def test_an_end_beyond_today_names_the_day(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    counter = module._Counter(11, "clips", 0)
    counter.done, now = 1, 86_400.0
    end = datetime.now() + timedelta(days=10)
    assert f"ends {end:%d %b}" in counter.state()


def test_the_bar_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with progress("sharding", 999_999, "clips") as report:
        time.sleep(0.3)
        report(123)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if line.strip()]
    assert max(map(len, lines)) <= 80
    assert any("123/999999" in line and "clips/min" in line for line in lines)
