"""validate, test and predict with the config of a run folder."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from lightning_n2m.audio.io import probe
from lightning_n2m.cli.main import main
from lightning_n2m.stages.base import Stage
from tests.integration.curves import scalars


def of_run(runs: Path, stage: str, *more: str) -> list[str]:
    run = runs / stage
    return [f"--config={run / 'config.yaml'}", f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", *more]


def test_validate_repeats_the_loss_that_fit_measured(runs: Path, tmp_path: Path) -> None:
    main(["validate", *of_run(runs, "spectrogram_vocoder", f"--trainer.default_root_dir={tmp_path}")])
    (measured,) = scalars(tmp_path, "val/loss").values()
    *_, last = scalars(runs / "spectrogram_vocoder", "val/loss").values()
    assert measured == pytest.approx(last, rel=1e-5)
    assert not (tmp_path / "config.yaml").exists()


def test_test_measures_the_test_split(runs: Path, tmp_path: Path) -> None:
    main(["test", *of_run(runs, "super_resolution", f"--trainer.default_root_dir={tmp_path}")])
    (measured,) = scalars(tmp_path, "test/loss").values()
    assert 0 < measured < 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_test_at_once(
    runs: Path,
    tmp_path: Path,
    number: signal.Signals,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = signal.getsignal(number)
    monkeypatch.setattr(Stage, "test_step", lambda *_: signal.raise_signal(number))
    with pytest.raises(SystemExit) as stop:
        main(["test", *of_run(runs, "super_resolution", f"--trainer.default_root_dir={tmp_path}")])
    assert stop.value.code == 128 + number
    assert capsys.readouterr().err.splitlines()[-1].startswith("Interrupted.")
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("stage", ["waveform_cascader", "spectrogram_generator"])
def test_predict_runs_one_stage_on_recordings(runs: Path, tmp_path: Path, stage: str) -> None:
    main(["predict", *of_run(runs, stage, f"--output.folder={tmp_path}", "--output.format=flac")])
    lines = [json.loads(line) for line in (tmp_path / "manifest.jsonl").read_text().splitlines()]
    assert len(lines) == 2
    for line in lines:
        info = probe(tmp_path / line["file"])
        assert (info.sample_rate, info.frames) == (16_000, 7680)
        assert line["prompt"]


def test_the_command_line_overrides_the_checkpoint(runs: Path, tmp_path: Path) -> None:
    options = [
        f"--output.folder={tmp_path}",
        "--model.sampling.guidance.scale=7",
        "--model.sampling.num_steps=2",
    ]
    main(["predict", *of_run(runs, "waveform_generator", *options)])
    line = json.loads((tmp_path / "manifest.jsonl").read_text().splitlines()[0])
    assert (line["sampling"]["guidance"]["scale"], line["sampling"]["num_steps"]) == (7, 2)
