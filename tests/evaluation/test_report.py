from __future__ import annotations

import dataclasses
import html

import pytest

from lightning_n2m.data.schema import Clip
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.metric_suite import MetricSuite
from lightning_n2m.evaluation.nearest_training_clip import Match, Threshold
from lightning_n2m.evaluation.report import write_report
from tests.evaluation.common import RATE, evaluate

SCRIPT = '<script>alert("x")</script><img src=x onerror=alert(1)> & $a$ \u202e\x07'


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_texts_of_strangers_are_escaped(tmp_path):
    data, excerpts = evaluate(tmp_path, [4.0] * 2, [SCRIPT, "a song"])
    result = MetricSuite("x: ", f"python {SCRIPT}")(data)
    result.metrics[0] = dataclasses.replace(result.metrics[0], name=SCRIPT, evaluator=SCRIPT)
    result.notes.append(SCRIPT)
    nearest = Clip("0123456789abcdef", 0, 0.0, 30.0, RATE, title=SCRIPT)
    threshold = Threshold(0.5, 0.4, 0.9)
    result.memorisation = MemorisationResult(
        [Match(0, 0.9, 0.9, 0)] * 2, threshold, threshold, [0], [nearest] * 2
    )
    write_report(tmp_path, SCRIPT, result, excerpts)
    for name in ("index.html", "audio.html"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "<script" not in page and "<img src=x" not in page
        assert "\u202e" not in page and "\x07" not in page
        assert html.escape('<script>alert("x")</script>') in page
        assert 'name="viewport"' in page
