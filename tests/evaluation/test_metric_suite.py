from __future__ import annotations

import pytest

from lightning_n2m.evaluation.metric_suite import MetricSuite
from lightning_n2m.evaluation.report import write_report
from tests.evaluation.common import evaluate


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_fewer_clips_give_fewer_metrics_and_no_error(tmp_path):
    names = []
    for count in (1, 2, 8):
        data, excerpts = evaluate(tmp_path / str(count), [4.0] * count)
        result = MetricSuite("x: ", "command")(data)
        names.append({row.name for row in result.metrics})
        assert all(row.command == "command" and row.name.startswith("x: ") for row in result.metrics)
        write_report(tmp_path / str(count), "title", result, excerpts)
    assert names[0] < names[1] < names[2]
    assert "x: KL of tags" in names[0]
    assert "x: KAD level" in names[2] - names[1]  # halves of two clips are too few
    assert "x: largest spectral line, dB" in names[2] - names[1]
