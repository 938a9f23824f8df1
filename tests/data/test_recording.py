from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_n2m.audio import ffmpeg
from lightning_n2m.audio.io import encode, read_blocks, write
from lightning_n2m.data.recording import read_recording
from lightning_n2m.errors import InputError
from tests.audio.mp3_files import mp3


def tone(rate: int, seconds: float, channels: int) -> torch.Tensor:
    time = torch.arange(round(rate * seconds)) / rate
    wave = 0.5 * torch.sin(2 * torch.pi * 220 * time)
    return torch.stack([wave * (i + 1) / channels for i in range(channels)])


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [("a.wav", 44_100, 2), ("a.flac", 8000, 1), ("a.ogg", 48_000, 2), ("a", 16_000, 3)],
)
def test_any_format_rate_and_number_of_channels_becomes_mono(
    tmp_path: Path, name: str, rate: int, channels: int
) -> None:
    samples = tone(rate, 1.5, channels)
    format = (Path(name).suffix or ".wav")[1:].upper()
    subtype = "VORBIS" if format == "OGG" else "PCM_16"
    (tmp_path / name).write_bytes(encode(samples, rate, format, subtype))
    audio = read_recording(tmp_path / name)
    assert (audio.sample_rate, audio.samples.shape) == (rate, (1, round(rate * 1.5)))
    difference = audio.samples - samples.mean(0, keepdim=True)
    assert difference.abs().mean() < (0.02 if format == "OGG" else 1e-4)


def test_formats_of_ffmpeg_are_read_where_it_is_installed(tmp_path: Path) -> None:
    import subprocess

    program = ffmpeg.program()
    if program is None:
        pytest.skip("ffmpeg is not installed")
    write(tmp_path / "a.wav", tone(44_100, 2.0, 2), 44_100)
    subprocess.run([program, "-v", "error", "-i", tmp_path / "a.wav", tmp_path / "a.m4a"], check=True)
    audio = read_recording(tmp_path / "a.m4a")
    assert audio.sample_rate == 44_100 and audio.samples.shape[-1] == pytest.approx(88_200, rel=0.05)


def test_damaged_frames_of_an_mp3_are_not_reported_one_by_one(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = mp3("loud", 3.0)
    (tmp_path / "a.mp3").write_bytes(data[:5000] + b"damaged" * 20 + data[5100:])
    read_blocks_of = list(read_blocks(tmp_path / "a.mp3", 1 << 20))
    assert "Illegal Audio-MPEG-Header" in capfd.readouterr().err  # what libmpg123 reports
    audio = read_recording(tmp_path / "a.mp3")
    assert capfd.readouterr().err == ""
    assert torch.equal(audio.samples, torch.cat(read_blocks_of, dim=1))


def test_what_cannot_be_edited_is_refused_in_a_line(tmp_path: Path) -> None:
    import soundfile

    write(tmp_path / "short.wav", tone(8000, 0.5, 1), 8000)
    write(tmp_path / "silent.wav", torch.zeros(2, 16_000), 8000)
    write(tmp_path / "long.flac", torch.zeros(1, 3601 * 100), 100)
    soundfile.write(tmp_path / "nan.wav", np.full(16_000, np.nan, np.float32), 8000, subtype="FLOAT")
    (tmp_path / "text.wav").write_text("no sound at all")
    (tmp_path / "empty.wav").write_bytes(b"")
    for name, message in (
        ("short.wav", r"0\.50 s; give a recording of at least 1 s"),
        ("silent.wav", "is silent"),
        ("long.flac", "60 minutes"),
        ("nan.wav", "NaN or infinite"),
        ("text.wav", "text.wav"),
        ("empty.wav", "empty.wav"),
        ("missing.wav", "does not exist"),
        (".", "is not a file"),
    ):
        with pytest.raises(InputError, match=message):
            read_recording(tmp_path / name)
