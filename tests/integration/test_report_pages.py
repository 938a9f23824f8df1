"""Pages of evaluation, statistics and labels in Chromium: valid, readable, accessible."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from data_pipeline.__main__ import main
from data_pipeline.captions.labelling.report_content import (
    ACCURACY_HEAD,
    USE_HEAD,
    LabelledClip,
    VocabularyUse,
)
from data_pipeline.captions.labelling.report_page import write_page
from lightning_n2m.data.schema import Clip, read_index
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.metric_suite import MetricSuite
from lightning_n2m.evaluation.nearest_training_clip import Match, Threshold
from lightning_n2m.evaluation.report import write_report
from lightning_n2m.html_page import page
from tests.browser import chromium
from tests.evaluation.common import RATE, evaluate
from tests.paths import CLIPS
from tests.web_page import check_file, open_page, serious_findings, too_wide

LONG_WORD = "Donaudampfschifffahrtsgesellschaftskapitän" * 4
TEXT = f"<b>Pop & rock</b> {LONG_WORD} of two words"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of two pieces whose titles have long words."""
    folder = tmp_path_factory.mktemp("music")
    for name in ("waltz", "hymn"):
        shutil.copy(CLIPS / f"{name}.ogg", folder / f"{LONG_WORD[:150]}-{name}.ogg")
    manifest, output = folder.parent / "pages-manifest.jsonl", folder.parent / "pages-shards"
    assert main(["manifest", "--source", str(folder), "--output", str(manifest), "--workers", "1"]) == 0
    cutting = ["--clip-seconds", "8", "--clips-per-track", "2", "--workers", "1"]
    assert main(["shard", "--manifest", str(manifest), "--output", str(output), *cutting]) == 0
    return output


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_the_pages_of_an_evaluation(browser: Any, tmp_path: Path) -> None:
    prompts = ["a piano piece in C minor at 90 bpm", TEXT]
    data, excerpts = evaluate(tmp_path, [4.0] * 2, prompts)
    result = MetricSuite("x: ", f"python -m lightning_n2m test {LONG_WORD}")(data)
    result.metrics[0] = dataclasses.replace(result.metrics[0], name=TEXT, evaluator=LONG_WORD)
    result.notes.append(TEXT)
    nearest = Clip("0123456789abcdef", 0, 0.0, 30.0, RATE, title=TEXT)
    threshold = Threshold(0.5, 0.4, 0.9)
    result.memorisation = MemorisationResult(
        [Match(0, 0.9, 0.9, 0)] * 2, threshold, threshold, [0], [nearest] * 2
    )
    write_report(tmp_path, TEXT, result, excerpts)
    check_file(browser, tmp_path / "index.html")
    check_file(browser, tmp_path / "audio.html")


def test_the_page_of_shard_statistics(browser: Any, shards: Path, tmp_path: Path) -> None:
    assert main(["stats", "--shards", str(shards), "--output", str(tmp_path), "--workers", "1"]) == 0
    assert LONG_WORD[:150] in (tmp_path / "index.html").read_text()
    check_file(browser, tmp_path / "index.html")


def test_the_page_of_labels(browser: Any, shards: Path, tmp_path: Path) -> None:
    shard = read_index(shards).shards[0]
    file = next(file for file in find_shards([shards], shard.split) if file.shard == shard)
    clips = [raw.clip for raw in read_shard(file)]
    Figure().savefig(tmp_path / "lm-lf.png")
    rows = [["3 of 10, drawn", "100.0 %", "12.34", "4321", "99.9 %", "123456"]]
    accuracy = [["3 of 10, drawn", "24", "70.0 %", "80.0 %", "60.0 %", "90.0 %"]]
    assert (len(rows[0]), len(accuracy[0])) == (len(USE_HEAD), len(ACCURACY_HEAD))
    examples = [LabelledClip(clip.key, TEXT, shard, TEXT, {"lm-lf": (TEXT, "a waltz")}) for clip in clips]
    section = VocabularyUse("lm-lf", 4321, "lm-lf.png", rows, accuracy)
    write_page(tmp_path, TEXT, [section], examples, shards)
    assert len(list(tmp_path.glob("*.flac"))) == len(clips) > 0
    check_file(browser, tmp_path / "index.html")


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        ("<p style='color: #999; background: #fff'>grey</p>", "color-contrast"),
        ("<img src='data:image/gif;base64,R0lGODlhAQABAAAAACw=' loading='lazy'>", "image-alt"),
    ],
)
def test_the_checks_find_faults(browser: Any, tmp_path: Path, content: str, finding: str) -> None:
    path = tmp_path / "index.html"
    path.write_text(page("x", ["<h1>x</h1>", content, "<div style='width: 900px'>wide</div>"]))
    with open_page(browser, path.as_uri()) as tab:
        tab.set_viewport_size({"width": 400, "height": 800})
        assert [name for name, _ in serious_findings(tab)] == [finding]
        assert too_wide(tab)[0] == "916 px in 400 px"
