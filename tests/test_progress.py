from __future__ import annotations

import pytest

from lightning_n2m import progress as module
from lightning_n2m.progress import SamplingProgress


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_the_share_follows_measured_times_of_the_stages(clock: Clock) -> None:
    """The estimate says equal stages; measured, the second takes three times as long."""
    progress = SamplingProgress(["a", "b"], [1.0, 1.0], batches=2, total=2)
    progress.start_stage(0)
    progress.step(1, 2)
    assert progress.fraction() == pytest.approx(0.125)
    clock.now = 10.0
    progress.step(2, 2)
    progress.start_stage(1)
    clock.now = 40.0
    progress.step(5, 5)
    progress.end_batch(1)
    assert progress.fraction() == pytest.approx(0.5)
    progress.start_stage(0)
    progress.step(2, 2)
    assert progress.fraction() == pytest.approx(0.5, abs=0.3)
    progress.start_stage(1)
    progress.end_batch(1)
    assert str(progress).startswith("100 %, clip 2 of 2, b, "), "the last stage, not the first of no batch"


def test_without_a_terminal_there_is_a_line_every_15_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with SamplingProgress(["SpectrogramGenerator"], [1.0], batches=1, total=30) as progress:
        progress.start_stage(0)
        for step in range(1, 100):
            clock.now = float(step)
            progress.step(step, 1000)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert max(map(len, lines)) <= 72
    assert lines[-1].startswith("9 %, clip 1 of 30, SpectrogramGenerator, ends ")


def test_the_end_is_extrapolated(clock: Clock) -> None:
    from datetime import datetime, timedelta

    progress = SamplingProgress(["a"], [1.0], batches=1, total=1)
    progress.start_stage(0)
    assert str(progress).endswith("end not known yet")
    clock.now = 30.0
    progress.step(1, 4)
    expected = datetime.now() + timedelta(seconds=90)
    if expected.date() != datetime.now().date():
        pytest.skip("it is nearly midnight, and the end is shown with its date")
    shown = datetime.strptime(str(progress).rpartition("ends ")[2], "%H:%M:%S")
    difference = (shown - expected.replace(year=1900, month=1, day=1)).total_seconds()
    assert abs(difference) < 3 or abs(abs(difference) - 86400) < 3


def test_the_end_of_a_long_list_is_known_after_its_first_batch_and_has_a_date(clock: Clock) -> None:
    from datetime import datetime, timedelta

    progress = SamplingProgress(["a"], [1.0], batches=10_000, total=10_000)
    progress.start_stage(0)
    clock.now = 60.0
    progress.step(1, 1)
    progress.end_batch(1)
    expected = datetime.now() + timedelta(seconds=60 * 9_999)
    assert str(progress).endswith(f"ends {expected:%d %b %H:%M}")
    assert len(str(progress)) <= 72
