from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_n2m.audio.io import read
from lightning_n2m.callbacks import prediction_writer as module
from lightning_n2m.callbacks.prediction_writer import PredictionWriter, identity
from lightning_n2m.errors import InputError
from lightning_n2m.stages.result import GeneratedClip
from tests.paths import ROOT


def clip(value: float = 0.25, name: str = "ska", **record: Any) -> GeneratedClip:
    return GeneratedClip(torch.full((1, 240), value), 24_000, name, {"prompt": "ska", **record})


def write(writer: PredictionWriter, *clips: GeneratedClip) -> None:
    writer.write_on_batch_end(None, None, clips, None, None, 0, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("unnamed", [True, False])
def test_clips_are_written_once_and_never_over_another(
    unnamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not unnamed:  # as on a disk without files that have no name
        monkeypatch.delattr(module.os, "O_TMPFILE")
    writer = PredictionWriter(str(tmp_path / "out"))
    write(writer, clip(0.25), clip(0.5))
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["manifest.jsonl", "ska-2.wav", "ska.wav"]
    assert read(tmp_path / "out" / "ska.wav").samples.mean() == pytest.approx(0.25, abs=1e-3)
    assert read(tmp_path / "out" / "ska-2.wav").samples.mean() == pytest.approx(0.5, abs=1e-3)
    lines = [json.loads(line) for line in (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()]
    assert [line["file"] for line in lines] == ["ska.wav", "ska-2.wav"]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_clip_that_is_not_finite_is_never_written(value: float, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="NaN or infinite"):
        write(PredictionWriter(str(tmp_path)), clip(value))
    assert list(tmp_path.iterdir()) == []


def test_existing_clips_are_those_of_the_same_record(tmp_path: Path) -> None:
    writer = PredictionWriter(str(tmp_path))
    write(writer, clip(seed=1, betas=(0.5, 1.0)), clip(name="gone", seed=2))
    (tmp_path / "gone.wav").unlink()
    with (tmp_path / "manifest.jsonl").open("a") as manifest:
        manifest.write('{"file": "../../etc/passwd", "seed": 3}\n[1]\n{"a"\n' + "[" * 5000 + "\n")
    existing = writer.existing()
    assert identity({"prompt": "ska", "seed": 1, "betas": [0.5, 1.0]}) in existing
    assert len(existing) == 1


def test_a_folder_that_cannot_be_written_to_is_refused_before_sampling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot be written to"):
            PredictionWriter(str(folder)).check_folder(0)
    with pytest.raises(InputError, match="MB free"):
        PredictionWriter(str(tmp_path / "out")).check_folder(1 << 60)
    assert list((tmp_path / "out").iterdir()) == []


KILL = """
import os, signal, sys, torch
from lightning_n2m.callbacks import prediction_writer as module
from lightning_n2m.stages.result import GeneratedClip
link = os.link
def die(*args, **kwargs):
    if sys.argv[2] == "after":
        link(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)
os.link = die
writer = module.PredictionWriter(sys.argv[1])
clip = GeneratedClip(torch.zeros(1, 240), 24000, "ska", {})
writer.write_on_batch_end(None, None, [clip], None, None, 0, 0)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="this system has no files without a name")
@pytest.mark.parametrize(("moment", "names"), [("before", []), ("after", ["ska.wav"])])
def test_a_killed_process_leaves_no_hidden_file(moment: str, names: list[str], tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILL, str(tmp_path), moment], cwd=ROOT)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == names
