"""Progress of long work on standard error: one bar on a terminal, a line every 15 s elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from lightning_n2m import heartbeat

INTERVAL = 15.0  # seconds between two lines where there is no terminal
_LONGEST = 1e9  # seconds to an end that a date can show


class SamplingProgress:
    """Progress over all stages of all batches, with the time at which the work ends.

    Stages take different times. Their ratio is an estimate at first, and measured once a stage has run.

    Args:
        stages: Names of the stages, in order.
        work: Estimated work of each stage for one batch, in any unit.
        batches: Number of batches.
        total: Number of clips in all batches.
    """

    def __init__(self, stages: Sequence[str], work: Sequence[float], batches: int, total: int) -> None:
        self.stages, self.work, self.batches, self.total = list(stages), list(work), batches, total
        self.batch, self.stage, self.share, self.clips = 0, 0, 0.0, 0
        self._measured: dict[int, float] = {}  # seconds of each stage for one batch
        self._began = self._stage_began = self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._pause = ExitStack()
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[state]}"),
            )
            self._bar = Progress(
                *columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty(), transient=True
            )
            self._task = self._bar.add_task("", total=1.0, state="")

    def __enter__(self) -> SamplingProgress:
        """Show the bar."""
        if self._bar is not None:
            self._pause.enter_context(heartbeat.paused())
            self._bar.start()
        else:
            heartbeat.set_line(self._repeated_line, INTERVAL)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
        self._pause.close()
        heartbeat.set_line(None)

    def start_stage(self, stage: int) -> None:
        """Begin a stage of the current batch."""
        self.stage, self.share, self._stage_began = stage, 0.0, time.monotonic()
        self._show()

    def step(self, done: int, total: int) -> None:
        """Report the steps of the current stage."""
        self.share = done / max(1, total)
        if done >= total:
            self._measured[self.stage] = time.monotonic() - self._stage_began
        self._show()

    def end_batch(self, clips: int) -> None:
        """Finish a batch of clips."""
        self.batch += 1
        self.clips += clips
        if self.batch < self.batches:
            self.stage, self.share = 0, 0.0
        self._show()

    def fraction(self) -> float:
        """Finished share of all work, from 0 to 1."""
        work = self._expected_work()
        batch = sum(work)
        done = self.batch * batch + sum(work[: self.stage]) + self.share * work[self.stage]
        return min(1.0, done / max(1e-12, self.batches * batch))

    def __str__(self) -> str:
        """At most 72 characters."""
        name = self.stages[self.stage]
        clip = min(self.clips + 1, self.total)
        clips = f"clip {clip} of {self.total}, " if self.total > 1 else ""
        return f"{100 * self.fraction():.0f} %, {clips}{name}, {self._end()}"

    def _expected_work(self) -> list[float]:
        """Work of each stage: seconds where they are measured, scaled estimates elsewhere."""
        measured = dict(self._measured)  # The heartbeat reads it in a thread of its own.
        estimated = sum(self.work[i] for i in measured)
        rate = sum(measured.values()) / estimated if estimated > 0 else 1.0
        return [measured.get(i, rate * work) for i, work in enumerate(self.work)]

    def _end(self) -> str:
        fraction, elapsed = self.fraction(), time.monotonic() - self._began
        # Without a finished batch, a small share says little about the stages that follow.
        if (fraction < 0.02 and not self.batch) or elapsed < 1:
            return "end not known yet"
        now = datetime.now()
        end = now + timedelta(seconds=min(elapsed * (1 / fraction - 1), _LONGEST))
        return f"ends {end:%H:%M:%S}" if end.date() == now.date() else f"ends {end:%d %b %H:%M}"

    def _repeated_line(self) -> str:
        """The line again, for a step that takes longer than the interval."""
        self._last_line = time.monotonic()
        return str(self)

    def _show(self) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=self.fraction(), state=str(self))
        elif time.monotonic() - self._last_line >= INTERVAL:
            self._last_line = time.monotonic()
            print(self, file=sys.stderr, flush=True)
            heartbeat.line_printed()
