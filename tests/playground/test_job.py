from __future__ import annotations

import threading
import time

import pytest

from lightning_n2m.playground.job import Cancelled, Job


def test_reports_arrive_in_order_and_the_result_follows():
    def run(report):
        for number in range(5):
            report(number)
        return "music"

    job = Job(run)
    assert [report for reports in job.reports(0.05) for report in reports] == list(range(5))
    assert job.result() == "music"


def test_many_reports_come_in_few_lists():
    def run(report):
        for number in range(100):
            report(number)
            time.sleep(0.002)

    lists = list(Job(run).reports(0.1))
    assert [report for reports in lists for report in reports] == list(range(100))
    assert len(lists) <= 10


def test_an_error_is_raised_where_the_result_is_used():
    def run(report):
        raise ZeroDivisionError

    job = Job(run)
    assert [report for reports in job.reports(0.05) for report in reports] == []
    with pytest.raises(ZeroDivisionError):
        job.result()


def test_a_silent_run_still_yields_so_that_it_can_be_cancelled():
    go_on = threading.Event()
    steps = []

    def run(report):
        go_on.wait(10)
        for number in range(100):
            steps.append(number)
            report(number)

    job = Job(run)
    reports = job.reports(0.01)
    assert next(reports) == []
    job.cancel()
    go_on.set()
    assert [report for batch in reports for report in batch] == []
    assert steps == [0]
    with pytest.raises(Cancelled):
        job.result()
