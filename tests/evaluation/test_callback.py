from __future__ import annotations

from lightning_n2m.evaluation.callback import _command


def test_the_stored_command_names_no_folders(monkeypatch):
    monkeypatch.setattr("sys.argv", [
        "x", "test", "-c", "a b.yaml", "--evaluation.folder", "here", "--evaluation.refiner_clips", "8",
        "--evaluation.cache=there", "--model.seed=1", "--evaluation.merge_into", "sum.json",
        "--data.evaluation_set.shards", "/elsewhere/shards",
    ])  # fmt: skip
    assert (
        _command() == "python -m lightning_n2m test -c 'a b.yaml' --evaluation.refiner_clips 8 --model.seed=1"
    )
