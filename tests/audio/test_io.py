from __future__ import annotations

import io
import math
import os

import pytest
import soundfile
import torch

from lightning_n2m.audio.io import encode, probe, read, read_blocks, to_mono, write
from lightning_n2m.errors import InputError

STEP = 1 / 32767  # of 16-bit samples, whichever way they are scaled


def music(channels=1, time=4800):
    t = torch.arange(time) / 24_000
    return torch.stack([0.8 * torch.sin(2 * math.pi * (220 + 30 * c) * t) for c in range(channels)])


@pytest.mark.parametrize("ending", [".wav", ".flac", ".FLAC", ".aiff"])
@pytest.mark.parametrize("channels", [1, 2])
def test_written_files_are_read_back(tmp_path, ending, channels):
    path = write(tmp_path / f"piece{ending}", music(channels), 24_000)
    audio = read(path)
    assert audio.sample_rate == 24_000
    assert audio.samples.dtype == torch.float32
    torch.testing.assert_close(audio.samples, music(channels), atol=2 * STEP, rtol=0)


def test_another_library_reads_written_files(tmp_path):
    write(tmp_path / "piece.wav", music(2), 16_000)
    data, rate = soundfile.read(tmp_path / "piece.wav")
    assert rate == 16_000
    assert data.shape == (4800, 2)
    assert abs(torch.from_numpy(data.T) - music(2)).max() < 2 * STEP


def test_values_beyond_1_are_clipped():
    loud, clipped = torch.tensor([[0.0, 1.7, -1.7, 0.5]]), torch.tensor([[0.0, 1.0, -1.0, 0.5]])
    for format, subtype in (("FLAC", "PCM_16"), ("WAV", "PCM_16"), ("WAV", "FLOAT")):
        audio = read(encode(loud, 8000, format, subtype)).samples
        torch.testing.assert_close(audio, clipped, atol=2 * STEP, rtol=0)


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3"])
def test_blocks_join_to_the_whole(format, capfd):
    # Noise at a low rate: the frames of the MP3 then borrow bits from each other.
    noise = 0.3 * torch.randn(1, 60_000, generator=torch.Generator().manual_seed(0)) * music(1, 60_000).abs()
    stream = io.BytesIO()
    soundfile.write(stream, noise.T.numpy(), 24_000, format=format)
    blocks = list(read_blocks(stream.getvalue(), 7001))
    torch.testing.assert_close(torch.cat(blocks, dim=1), read(stream.getvalue()).samples, atol=1e-6, rtol=0)
    assert {block.shape[1] for block in blocks[:-1]} == {7001}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("format", ["WAV", "FLAC"])
@pytest.mark.parametrize(
    ("start", "frames"), [(0, 100), (1, 1), (1234, 2000), (4700, 100), (4000, None), (4800, 0)]
)
def test_a_part_is_a_slice_of_the_whole(format, start, frames):
    data = encode(music(2), 24_000, format)
    stop = None if frames is None else start + frames
    assert torch.equal(read(data, start, frames).samples, read(data).samples[:, start:stop])


def test_sources_may_be_paths_strings_bytes_and_streams(tmp_path):
    path = write(tmp_path / "piece.flac", music(), 24_000)
    data = path.read_bytes()
    for source in (path, str(path), data, io.BytesIO(data)):
        assert torch.equal(read(source).samples, read(path).samples)


def test_a_header_has_rate_length_channels_and_tags(tmp_path):
    with soundfile.SoundFile(tmp_path / "tagged.flac", "w", 24_000, 2) as file:
        file.title, file.artist = "Gemütliche Walzer", "Nobody"
        file.write(music(2).T.numpy())
    info = probe(tmp_path / "tagged.flac")
    assert (info.sample_rate, info.frames, info.channels, info.duration) == (24_000, 4800, 2, 0.2)
    assert info.tags["title"] == "Gemütliche Walzer"
    assert info.tags["artist"] == "Nobody"


def test_mono_is_the_mean_of_the_channels():
    assert torch.equal(to_mono(torch.tensor([[1.0, 0.0], [0.0, -0.5]])), torch.tensor([[0.5, -0.25]]))


@pytest.mark.parametrize("work", [probe, read])
def test_other_files_are_refused_by_name(tmp_path, work):
    (tmp_path / "text.wav").write_text("no music at all" * 50)
    for source in (tmp_path / "text.wav", tmp_path / "missing.flac", str(tmp_path)):
        with pytest.raises(InputError, match=str(source)):
            work(source)
    for data in (b"", b"no music", encode(music(), 24_000)[:20]):
        with pytest.raises(InputError, match="these bytes"):
            work(data)


def test_a_part_beyond_the_end_is_refused():
    data = encode(music(), 24_000, "WAV")
    with pytest.raises(InputError, match="ends after 4800 frames, but 4900 are needed"):
        read(data, 4700, 200)
    with pytest.raises(InputError):
        read(data, 5000)


@pytest.mark.parametrize("work", [probe, read])
def test_a_flac_without_a_length_is_refused(work):
    flac = encode(music(), 24_000)
    # The length is the last 36 bits of the 64 that begin at byte 18.
    streamed = flac[:21] + bytes([flac[21] & 0xF0, 0, 0, 0, 0]) + flac[26:]
    with pytest.raises(InputError, match="The header of these bytes has no length"):
        work(streamed)


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_truncated_flac_is_refused(share):
    data = encode(music(), 24_000)
    with pytest.raises(InputError):
        read(data[: int(share * len(data))])


@pytest.mark.parametrize("name", ["piece.xyz", "piece", "piece.mp3", "piece.ogg", "piece.raw"])
def test_an_unknown_extension_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(InputError, match=r"use the extension \.wav or \.flac"):
        write(tmp_path / name, music(), 24_000)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch):
    path = write(tmp_path / "piece.wav", music(), 24_000)
    before = path.read_bytes()

    def full(self, data):
        with open(self, "wb") as file:
            file.write(data[:100])
        raise OSError("No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write(path, -music(), 24_000)
    assert os.listdir(tmp_path) == ["piece.wav"]
    assert path.read_bytes() == before
