"""A training that cannot start, resume or save stops with one line, and its folder stays as it was."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_n2m.data.datamodule import AudioDataModule
from lightning_n2m.stages.base import Stage
from tests.integration.conftest import fit

STAGE = "super_resolution"
QUICK = ("--samples.clips=0", "--trainer.limit_val_batches=0", "--checkpoint.every_n_train_steps=1")


@pytest.fixture(scope="module")
def trained(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one step."""
    run = tmp_path_factory.mktemp("trained") / "run"
    fit(STAGE, shards, run, "--trainer.max_steps=1", *QUICK)
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr().err
    assert "Traceback" not in captured
    return captured.splitlines()[-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--model.network.base_channels=16", "has another shape: network."),
        ("--model.objective.prediction=epsilon", "was trained with prediction v"),
        ("--model.objective.schedule.shift=-3", "was trained with schedule CosineSchedule"),
        ("--model.scale=0.5", "was trained with scale"),
    ],
)
def test_a_refused_resume_changes_no_file(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    before = files(run)
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, run, "--ckpt_path=last", "--trainer.max_steps=2", change, *QUICK)
    assert stop.value.code == 2
    assert message in last_line(capsys)
    assert files(run) == before


def test_a_resume_refused_by_the_data_leaves_config_and_checkpoint(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(run)
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, run, "--ckpt_path=last", "--trainer.max_steps=2", "--data.streams=2", *QUICK)
    assert stop.value.code == 2
    assert "data.streams" in last_line(capsys)
    after = files(run)
    assert {name: after[name] for name in before if not name.startswith("events")} == {
        name: before[name] for name in before if not name.startswith("events")
    }


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "other content"])
def test_a_damaged_checkpoint_is_refused(
    run: Path, shards: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    path = run / "checkpoints" / "last.ckpt"
    if damage == "other content":
        torch.save([1, 2, 3], path)
    else:
        content = path.read_bytes()
        path.write_bytes({"truncated": content[: len(content) // 2], "text": b"hello", "empty": b""}[damage])
    before = files(run)
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, run, "--ckpt_path=last", "--trainer.max_steps=2", *QUICK)
    assert stop.value.code == 2
    assert "checkpoint" in last_line(capsys)
    assert files(run) == before


@pytest.mark.parametrize("logger", ["csv", "none"])
def test_last_is_found_with_every_logger(
    shards: Path,
    tmp_path: Path,
    logger: str,
    capsys: pytest.CaptureFixture[str],
    recwarn: pytest.WarningsRecorder,
) -> None:
    options = ["--trainer.logger=false"]
    if logger == "csv":
        options = [
            "--trainer.logger=lightning.pytorch.loggers.CSVLogger",
            f"--trainer.logger.save_dir={tmp_path / 'csv'}",
        ]
    for steps in (1, 2):
        more = [f"--trainer.max_steps={steps}", "--ckpt_path=last", *QUICK, *options]
        fit(STAGE, shards, tmp_path / "run", *more)
        is_new = "last.ckpt does not exist yet: a new training starts." in capsys.readouterr().err
        assert is_new == (steps == 1)
    assert not [warning for warning in recwarn if "last checkpoint" in str(warning.message)]
    checkpoint = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 2
    assert checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["total"]["ready"] == 2
    (moments,) = (optimizer["state"] for optimizer in checkpoint["optimizer_states"])
    assert moments[0]["step"] == 2, "Adam resumed from the first run"
    assert (tmp_path / "run" / "config.yaml").is_file()


def test_a_training_without_its_shards_leaves_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, tmp_path / "nowhere", tmp_path / "run", *QUICK)
    assert stop.value.code == 2
    assert "nowhere does not exist" in last_line(capsys)
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--trainer.max_steps=9999", "model.optimisation.total_steps"),
        ("--trainer.accelerator=cuda", "--trainer.accelerator"),
    ],
)
def test_an_impossible_training_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    if "cuda" in option and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path / "run", option, *QUICK)
    assert stop.value.code == 2
    assert message in last_line(capsys)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_folder_that_cannot_be_written_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path / "file" / "run", *QUICK)
    assert stop.value.code == 2
    assert "cannot be written" in last_line(capsys)


def test_ctrl_c_during_start_up_ends_with_one_line(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AudioDataModule, "train_dataloader", lambda self: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, *QUICK)
    assert stop.value.code == 128 + signal.SIGINT
    assert last_line(capsys) == "Interrupted before the first step; nothing was saved."


def test_ctrl_c_during_validation_saves_after_it(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    validation_step = Stage.validation_step

    def interrupted(self: Stage, *args: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        validation_step(self, *args)

    monkeypatch.setattr(Stage, "validation_step", interrupted)
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, "--samples.clips=0", "--checkpoint.every_n_train_steps=100")
    assert stop.value.code == 128 + signal.SIGINT
    assert "SIGINT ended the training after step 3, which is saved" in last_line(capsys)
    assert torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 3


def test_fit_shows_progress_and_a_summary_and_no_advertisement(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--progress.interval=0", "--trainer.enable_progress_bar=true", "--data.effective_batch=4"]
    fit(STAGE, shards, tmp_path, "--trainer.max_steps=3", *more)
    output = capsys.readouterr().err
    lines = output.splitlines()
    assert "litlogger" not in output and "Tip" not in output
    steps = [line for line in lines if line.startswith("step ")]
    assert all(len(line) < 80 for line in steps)
    assert any(line.startswith("step 2/3 (67%)  ") and "ends" in line for line in steps)
    assert any("validation, batch 1" in line for line in steps)
    assert any("samples at guidance 1, 4/4" in line for line in steps)
    summary = lines[-5:]
    assert summary[0].startswith("Trained SuperResolution") and summary[0].endswith("up to step 3.")
    assert "best" in summary[1] and "last" in summary[1]
    assert str(tmp_path) in summary[2] and f"export {tmp_path}" in summary[3]
