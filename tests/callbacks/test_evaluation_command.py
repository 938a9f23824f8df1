from __future__ import annotations

from lightning_n2m.callbacks.evaluation import _command


def test_the_command_that_figures_name_is_free_of_places(monkeypatch):
    monkeypatch.setattr("sys.argv", [
        "x", "test", "-c", "a b.yaml", "--evaluation.folder", "here", "--evaluation.alone", "8",
        "--evaluation.heard=there", "--model.seed=1", "--evaluation.summary", "sum.json",
    ])  # fmt: skip
    assert _command() == "python -m lightning_n2m test -c 'a b.yaml' --evaluation.alone 8 --model.seed=1"
