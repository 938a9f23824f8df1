"""Wrong input: one line on standard error, exit code 2, no traceback, nothing lost."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import torch

from lightning_n2m.cli.main import main
from tests.integration.conftest import ROOT, tiny


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that must be refused; its one line."""
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


def test_a_missing_shard_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "nowhere does not exist" in refused(
        capsys, "fit", *tiny("super_resolution", tmp_path / "nowhere", tmp_path)
    )


def test_an_empty_shard_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no index.json" in refused(
        capsys, "fit", *tiny("super_resolution", tmp_path / "empty", tmp_path / "run")
    )


def test_a_corrupt_member(capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path) -> None:
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    for path in copy.glob("*.tar"):
        data = bytearray(path.read_bytes())
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                if member.name.endswith(".flac"):
                    data[member.offset_data + 200 : member.offset_data + member.size] = bytes(
                        member.size - 200
                    )
        path.write_bytes(data)
    said = refused(capsys, "fit", *tiny("super_resolution", copy, tmp_path / "run"))
    assert str(copy) in said and "cannot be used" in said


def test_a_corrupt_member_found_by_a_worker_process(
    capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    for tar in copy.glob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:5000])
    said = refused(capsys, "fit", *tiny("super_resolution", copy, tmp_path / "run", "--data.num_workers=1"))
    assert "is damaged" in said and "Traceback" not in said


def test_too_few_shards(capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path) -> None:
    said = refused(capsys, "fit", *tiny("super_resolution", shards, tmp_path, "--data.num_workers=50"))
    assert "training shards, but 50 streams" in said


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--model.network.colour=3", "colour"),
        ("--model.objective.prediction=speed", "speed"),
        ("--data.batch_size=many", "batch_size"),
        ("--trainer.max_stepz=3", "max_stepz"),
    ],
)
def test_an_unknown_key_or_value(
    capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path, option: str, word: str
) -> None:
    assert word in refused(capsys, "fit", *tiny("super_resolution", shards, tmp_path, option))


@pytest.mark.parametrize(
    ("stage", "option", "said"),
    [
        (
            "super_resolution",
            "--model.network.stacked_channels=0",
            "model.network.stacked_channels is not set",
        ),
        ("super_resolution", "--model.network.aligned_channels=80", "model.network.aligned_channels is set"),
        ("waveform_generator", "--model.network.text_channels=100", "have 384 numbers"),
    ],
)
def test_parts_that_do_not_fit_together(
    capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path, stage: str, option: str, said: str
) -> None:
    assert said in refused(capsys, "fit", *tiny(stage, shards, tmp_path, option))


def test_the_checkpoint_of_another_stage(
    capsys: pytest.CaptureFixture[str], runs: Path, shards: Path, tmp_path: Path
) -> None:
    other = runs / "waveform_cascader" / "checkpoints" / "last.ckpt"
    said = refused(capsys, "fit", *tiny("super_resolution", shards, tmp_path, f"--ckpt_path={other}"))
    assert "WaveformCascader" in said and "SuperResolution" in said


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch /tmp/n2m-checkpoint-code-ran",)


def test_a_checkpoint_that_carries_code(
    capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path
) -> None:
    torch.save({"state_dict": _Code()}, tmp_path / "bad.ckpt", pickle_module=pickle)
    said = refused(
        capsys,
        "fit",
        *tiny("super_resolution", shards, tmp_path / "run", f"--ckpt_path={tmp_path / 'bad.ckpt'}"),
    )
    assert "contains code" in said
    assert not Path("/tmp/n2m-checkpoint-code-ran").exists()


def test_a_checkpoint_that_is_not_there(
    capsys: pytest.CaptureFixture[str], shards: Path, tmp_path: Path
) -> None:
    said = refused(
        capsys, "fit", *tiny("super_resolution", shards, tmp_path, f"--ckpt_path={tmp_path / 'no.ckpt'}")
    )
    assert "no.ckpt" in said


def test_weights_of_another_shape(
    capsys: pytest.CaptureFixture[str], runs: Path, shards: Path, tmp_path: Path
) -> None:
    other = runs / "waveform_cascader"
    said = refused(capsys, "fit", *tiny("super_resolution", shards, tmp_path, f"--weights={other}"))
    assert f"--weights {other}" in said and "another shape" in said
    assert not (tmp_path / "checkpoints").exists()


def test_weights_for_what_does_not_train(
    capsys: pytest.CaptureFixture[str], runs: Path, shards: Path, tmp_path: Path
) -> None:
    options = tiny("super_resolution", shards, tmp_path, f"--weights={runs / 'super_resolution'}")
    assert "'validate' takes --ckpt_path" in refused(capsys, "validate", *options)


def test_training_over_a_run(capsys: pytest.CaptureFixture[str], runs: Path, shards: Path) -> None:
    before = (runs / "super_resolution" / "config.yaml").read_bytes()
    said = refused(
        capsys, "fit", *tiny("super_resolution", shards, runs / "super_resolution", "--model.seed=5")
    )
    assert "--ckpt_path last" in said
    assert (runs / "super_resolution" / "config.yaml").read_bytes() == before


@pytest.mark.parametrize("prompt", ["", "   "])
def test_an_empty_prompt(capsys: pytest.CaptureFixture[str], runs: Path, prompt: str) -> None:
    said = refused(
        capsys,
        "predict",
        f"--config={ROOT / 'configs' / 'cascade' / 'waveform.yaml'}",
        f"--model.generator.folder={runs / 'waveform_generator'}",
        f"--model.refiner.folder={runs / 'waveform_cascader'}",
        "--model.super_resolution=null",
        f"--data.prompt={prompt}",
    )
    assert "The prompt is empty" in said


def test_a_stage_folder_without_weights(
    capsys: pytest.CaptureFixture[str], runs: Path, tmp_path: Path
) -> None:
    shutil.copy(runs / "waveform_generator" / "config.yaml", tmp_path)
    assert "holds neither weights.safetensors" in refused(
        capsys, "export", str(tmp_path), str(tmp_path / "out")
    )
    assert not (tmp_path / "out").exists()


def test_exit_code_and_standard_error_of_a_real_process(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "lightning_n2m",
        "fit",
        *tiny("super_resolution", tmp_path / "nowhere", tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert done.stderr.count("\n") < 6 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: The shard folder")
