from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_n2m.audio.io import write
from lightning_n2m.callbacks.prediction_writer import PredictionWriter
from lightning_n2m.cascade import Cascade
from lightning_n2m.cli.prediction import prepare_prediction, summarised
from lightning_n2m.data.prompts import Prompts
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.errors import InputError, Interrupted
from lightning_n2m.stages.result import GeneratedClip
from lightning_n2m.stages.stage_config import build_stage
from tests.stages.test_bundle import CONFIG


class FakeCascade(Cascade):
    """Records and token counts of a cascade, without stages."""

    def __init__(self, weights: str = "a") -> None:
        nn.Module.__init__(self)
        self.seconds, self.weights = 1.0, weights

    @property
    def sample_rate(self) -> int:
        return 24_000

    def record(self, item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "weights": self.weights}

    def token_counts(self, prompt: str) -> list[tuple[str, int, int]]:
        words = len(prompt.split())
        return [("WaveformGenerator", words, 62)] if words > 62 else []


def generate(writer: PredictionWriter, cascade: FakeCascade, items: list[dict[str, Any]]) -> None:
    clips = [
        GeneratedClip(torch.zeros(1, 240), 24_000, item["prompt"], cascade.record(item)) for item in items
    ]
    writer.write_on_batch_end(None, None, clips, None, None, 0, 0)  # type: ignore[arg-type]


def test_an_interrupted_prompts_file_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "prompts.txt").write_text("ska\npolka\ntango\n")
    writer = PredictionWriter(str(tmp_path / "out"))
    first = Prompts(file=str(tmp_path / "prompts.txt"))
    assert prepare_prediction(FakeCascade(), first, writer, None)
    generate(writer, FakeCascade(), first.items()[:2])  # then the run stops
    again = Prompts(file=str(tmp_path / "prompts.txt"))
    assert prepare_prediction(FakeCascade(), again, writer, None)
    assert [item["prompt"] for item in again.items()] == ["tango"]
    assert "2 of 3 clips exist" in capsys.readouterr().out
    generate(writer, FakeCascade(), again.items())
    done = Prompts(file=str(tmp_path / "prompts.txt"))
    assert not prepare_prediction(FakeCascade(), done, writer, None)
    other = Prompts(file=str(tmp_path / "prompts.txt"))
    assert prepare_prediction(FakeCascade("b"), other, writer, None)
    assert len(other.items()) == 3  # other weights give other music


def test_a_prompt_beyond_the_tokens_of_an_encoder_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = Prompts("\x1bslow " + "piano " * 70)
    assert prepare_prediction(FakeCascade(), prompts, PredictionWriter(str(tmp_path)), None)
    (line,) = capsys.readouterr().err.splitlines()
    assert "has 71 tokens, and the WaveformGenerator reads the first 62" in line and "\x1b" not in line


def test_an_untrained_stage_is_refused(tmp_path: Path) -> None:
    stage = build_stage(CONFIG)
    writer = PredictionWriter(str(tmp_path / "out"))
    with pytest.raises(InputError, match="untrained network"):
        prepare_prediction(stage, None, writer, None)
    assert not (tmp_path / "out").exists()
    assert prepare_prediction(stage, None, writer, "last.ckpt")


def test_a_signal_ends_with_what_exists_and_how_to_resume(tmp_path: Path) -> None:
    writer = PredictionWriter(str(tmp_path))
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Interrupted, match=r"0 clips are in .*the same command") as stop, summarised(writer):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.signal == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_summary_says_what_and_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = PredictionWriter(str(tmp_path))
    with summarised(writer):
        generate(writer, FakeCascade(), [{"prompt": "ska", "variation": 0}])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("1 clip (0.01 s of music) in ")
    assert lines[2].startswith(str(tmp_path / "manifest.jsonl"))


def test_a_contradiction_of_tempo_is_refused_before_sampling(tmp_path: Path) -> None:
    cascade = FakeCascade()
    cascade.requested = RequestedNumbers.parse(120, None)
    writer = PredictionWriter(str(tmp_path / "out"))
    with pytest.raises(InputError, match="names 90 bpm"):
        prepare_prediction(cascade, Prompts(prompt="a waltz at 90 bpm"), writer, None)


def test_a_recording_is_read_before_sampling(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", 0.1 * torch.ones(1, 16_000), 8000)
    cascade = FakeCascade()
    writer = PredictionWriter(str(tmp_path / "out"))
    assert prepare_prediction(cascade, Prompts(audio=str(path), extend=3), writer, None)
    assert cascade.edit is not None and cascade.seconds == cascade.edit.seconds == 5
    with pytest.raises(InputError, match="is not within"):
        prepare_prediction(cascade, Prompts(audio=str(path), regenerate="1:3"), writer, None)
