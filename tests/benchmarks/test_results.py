"""Ratios, regressions, the results file and the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import suite
from benchmarks.result import Result, merge, read, read_committed, regressions, table, write
from benchmarks.suite import names
from benchmarks.timing import medians


def result(ours: float, peer: float = 10, question: str = "speed", **fields) -> Result:
    return Result(question, ours, peer, "a peer", "clips/s", **fields)


@pytest.mark.parametrize(("higher", "ratio"), [(True, 2), (False, 0.5)])
def test_a_ratio_above_one_is_better_for_every_unit(higher, ratio):
    assert result(20, higher_is_better=higher).ratio == ratio


@pytest.mark.parametrize("ours", [0, -1, float("nan"), float("inf")])
def test_values_must_be_finite_and_positive(ours):
    with pytest.raises(ValueError, match="speed"):
        result(ours)


@pytest.mark.parametrize(("ours", "reported"), [(20, 0), (16.1, 0), (15.9, 1), (40, 0)])
def test_a_ratio_that_falls_by_more_than_a_fifth_is_a_regression(ours, reported):
    messages = regressions([result(20).row()], [result(ours).row()])
    assert len(messages) == reported
    assert all("speed" in message and "it was 2." in message for message in messages)


def test_more_seconds_are_a_regression():
    before, after = (result(ours, higher_is_better=False).row() for ours in (10, 13))
    assert len(regressions([before], [after])) == 1
    assert regressions([after], [before]) == []


def test_new_questions_and_new_peers_are_no_regression():
    assert regressions([result(20).row()], [result(1, question="other").row()]) == []


def test_rows_replace_those_of_the_same_question_and_peer():
    rows = merge([result(20).row(), result(1, question="a").row()], [result(30), result(5, question="b")])
    assert [(row["question"], row["ours"]) for row in rows] == [("a", 1), ("b", 5), ("speed", 30)]


def test_results_are_written_to_a_file(tmp_path):
    write(merge([], [result(20, target=1.5)]), tmp_path / "results.json")
    assert read(tmp_path / "results.json") == [
        {
            "question": "speed", "peer_name": "a peer", "unit": "clips/s", "target": 1.5,
            "ours": 20, "peer": 10, "ratio": 2,
        }
    ]  # fmt: skip
    assert read(tmp_path / "missing.json") == []


def test_committed_results_are_compared_not_those_of_the_last_run(tmp_path):
    path = tmp_path / "results.json"
    write([result(20).row()], path)
    assert read_committed(path) == read(path)  # no repository yet
    git = ["git", "-c", "user.name=n", "-c", "user.email=e"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "m"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    write([result(1).row()], path)
    assert read_committed(path)[0]["ours"] == 20


def test_the_table_shows_which_targets_are_met():
    lines = table([result(20, target=1.5).row(), result(20, target=3).row(), result(20).row()]).splitlines()
    assert [("met" in line, "missed" in line) for line in lines[1:]] == [
        (True, False), (False, True), (False, False),
    ]  # fmt: skip


def test_works_take_turns_and_warm_up():
    order = []
    assert len(medians(lambda: order.append("a"), lambda: order.append("b"), rounds=2)) == 2
    assert order == ["a", "b"] * 3


def test_an_unknown_benchmark_is_refused(capsys):
    assert command.main(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_the_command_stores_results_and_reports_failures_and_regressions(tmp_path, monkeypatch, capsys):
    path = tmp_path / "results.json"
    write([result(20).row()], path)
    results = {"good": [result(9, question="good")], "worse": [result(2)]}
    monkeypatch.setattr(command, "names", lambda: ["good", "bad", "worse"])
    monkeypatch.setattr(command, "read", lambda: read(path))
    monkeypatch.setattr(command, "read_committed", lambda: [result(20).row()])
    monkeypatch.setattr(command, "write", lambda rows: write(rows, path))
    monkeypatch.setattr(command, "run", results.__getitem__)
    assert command.main(["good"]) == 0
    assert command.main(["bad", "good"]) == 1
    printed = capsys.readouterr()
    assert "Failed: bad." in printed.err
    assert "good" in printed.out
    assert command.main(["worse"]) == 1
    assert "Worse than before: speed" in capsys.readouterr().err
    assert {row["question"]: row["ours"] for row in json.loads(path.read_text())} == {"good": 9, "speed": 2}


def test_a_module_with_a_measure_is_a_benchmark_and_runs_in_a_process_of_its_own(tmp_path, monkeypatch):
    row = "from benchmarks.result import Result\nimport os\n"
    row += "def measure():\n    yield Result('pid', os.getpid(), 1, 'a peer', '')\n"
    (tmp_path / "one_of_a_test.py").write_text(row)
    (tmp_path / "helper.py").write_text("def other():\n    ...\n")
    assert names(tmp_path) == ["one_of_a_test"]
    assert not {"result", "suite", "timing", "__main__"} & set(names())
    folders = [str(Path(suite.__file__).parent), str(tmp_path)]
    code = f"import benchmarks; benchmarks.__path__ = {folders}\n"
    code += "import os\nfrom benchmarks.suite import run\n"
    code += "if __name__ == '__main__': print(run('one_of_a_test')[0].ours != os.getpid())"
    (tmp_path / "main.py").write_text(code)
    environment = os.environ | {"PYTHONPATH": str(suite.FOLDER.parent)}
    done = subprocess.run(
        [sys.executable, tmp_path / "main.py"], capture_output=True, text=True, env=environment
    )
    assert done.stdout == "True\n", done.stderr
