from __future__ import annotations

import dataclasses
import math
import pickle

import pytest
import torch

from lightning_n2m.audio.io import encode, read
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.audio.resample import resample
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.derived_audio import TrainingFormat, to_bytes
from lightning_n2m.data.schema import Captions
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.errors import InputError
from tests.data.conftest import noise


def place(crop, whole):
    """Where the crop lies in the whole clip."""
    (start,) = (whole[0].unfold(0, crop.shape[-1], 1) == crop).all(dim=1).nonzero()
    return start.item()


def test_the_crop_is_a_slice_of_the_whole_decoded_clip(raw_clip):
    raw = raw_clip()
    whole = read(raw.audio).samples
    example = ClipDecoder(24_000, 0.3, None)(raw, 7)
    assert example["audio"].shape == (1, 7200)
    assert example["audio"].dtype == torch.float32
    assert place(example["audio"], whole) > 0
    assert (example["key"], example["number"], example["caption"]) == ("track-00", 7, "")


@pytest.mark.parametrize("rate", [16_000, 3200, 5000])
@pytest.mark.parametrize("number", range(5))
def test_the_crop_is_a_slice_of_the_whole_resampled_clip(raw_clip, rate, number):
    """To its very edges: a crop that is resampled after the cut begins with the edge of a filter."""
    raw = raw_clip(seconds=0.6)
    whole = resample(read(raw.audio).samples, 24_000, rate)
    crop = ClipDecoder(rate, 0.0512, None)(raw, number)["audio"]
    windows = whole[0].unfold(0, crop.shape[-1], 1)
    assert (windows - crop).abs().amax(dim=1).min() < 1e-5


@pytest.mark.parametrize("number", range(5))
def test_a_mel_crop_is_a_slice_of_the_mel_of_the_whole_clip(raw_clip, number):
    raw, settings = raw_clip(seconds=1.2), MelSettings()
    whole = log_mel(resample(read(raw.audio).samples, 24_000, 16_000)[None], settings)[0]
    crop = ClipDecoder(16_000, 0.32, None, mel=settings)(raw, number)["mel"]
    assert crop.shape == (80, 32)
    windows = whole.unfold(1, 32, 1).transpose(1, 2)  # (80, 32, starts)
    assert (windows - crop[..., None]).abs().amax(dim=(0, 1)).min() < 1e-3


@pytest.mark.parametrize(
    "form", [TrainingFormat(3200), TrainingFormat(16_000), TrainingFormat(16_000, MelSettings())]
)
@pytest.mark.parametrize("seconds", [0.32, 0.5123, 0.9])
@pytest.mark.parametrize("centred", [False, True])
def test_a_derived_clip_gives_the_same_crops_as_its_master(raw_clip, form, seconds, centred):
    raw = raw_clip(encode(noise(3, 0.9), 24_000), seconds=0.9)
    made = dataclasses.replace(raw, audio=to_bytes(form.of(read(raw.audio).samples, 24_000)))
    decoder = ClipDecoder(form.sample_rate, seconds, None, 5, centred, form.mel)
    for number in range(8):
        one, other = (next(iter(decoder(clip, number).values())) for clip in (raw, made))
        assert one.shape == other.shape
        # Half a step of 1/16384, and the rounding of floats; logarithms of silence magnify the second.
        assert (one - other).abs().max() < (4e-5 if form.mel is None else 2e-4)


@pytest.mark.parametrize("data", [b"\x93NUMPY", b"\x93NUMPY" + bytes(200)])
def test_a_damaged_derived_clip_is_refused(raw_clip, data):
    refused(raw_clip(data, seconds=1.0))


def test_a_derived_clip_that_is_too_short_is_refused(raw_clip):
    raw = raw_clip(to_bytes(torch.zeros(1, 1600)), seconds=1.0)
    with pytest.raises(InputError, match="has 1600 steps, but 3092 are needed"):
        ClipDecoder(3200, 0.9, None)(raw, 0)


@pytest.mark.parametrize("rate", [24_000, 16_000, 3200])
@pytest.mark.parametrize("seconds", [0.1, 0.33333, 0.50003, 0.9999])
def test_all_crops_of_a_stage_have_one_length(raw_clip, rate, seconds):
    assert ClipDecoder(rate, seconds, None)(raw_clip(), 0)["audio"].shape == (1, round(rate * seconds))


def test_crops_lie_everywhere_and_depend_on_seed_and_number_only(raw_clip):
    raw = raw_clip(seconds=0.1)
    whole, decoder = read(raw.audio).samples, ClipDecoder(24_000, 0.02, None, seed=1)
    starts = [place(decoder(raw, number)["audio"], whole) for number in range(200)]
    assert starts == [place(decoder(raw, number)["audio"], whole) for number in range(200)]
    assert min(starts) < 100
    assert max(starts) > 1820
    assert abs(sum(starts) / 200 - 960) < 150
    other = ClipDecoder(24_000, 0.02, None, seed=2)
    assert place(other(raw, 0)["audio"], whole) != starts[0]


def test_a_clip_as_long_as_the_stage_is_taken_whole(raw_clip):
    raw = raw_clip(seconds=0.5)
    assert torch.equal(ClipDecoder(24_000, 0.5, None)(raw, 0)["audio"], read(raw.audio).samples)


def test_validation_takes_the_middle(raw_clip):
    raw = raw_clip(seconds=0.5)
    crop = ClipDecoder(24_000, 0.1, None, centred=True)(raw, 0)["audio"]
    assert torch.equal(crop, read(raw.audio).samples[:, 4800:7200])


def test_channels_are_averaged(raw_clip):
    stereo = torch.stack([torch.full((2400,), 0.5), torch.full((2400,), -0.25)])
    example = ClipDecoder(24_000, 0.1, None)(raw_clip(encode(stereo, 24_000)), 0)
    torch.testing.assert_close(example["audio"], torch.full((1, 2400), 0.125), atol=1e-4, rtol=0)


def test_the_caption_is_drawn_from_the_text_batch_by_number(raw_clip):
    captions = Captions("track-00", ("One long sentence.", "Another long sentence."), ("calm", "slow"))
    raw = raw_clip(seconds=0.1, captions=captions, title="Dawn")
    decoder = ClipDecoder(24_000, 0.1, TextBatch(64, len))
    drawn = [decoder(raw, number)["caption"] for number in range(60)]
    assert drawn == [decoder(raw, number)["caption"] for number in range(60)]
    assert set(captions.long) < set(drawn)
    assert all(
        sorted(text.split(", ")) == ["Dawn", "calm", "slow"] for text in set(drawn) - set(captions.long)
    )


def test_it_can_be_sent_to_a_loader_worker(raw_clip):
    decoder = pickle.loads(pickle.dumps(ClipDecoder(16_000, 0.1, TextBatch(64, len), seed=4)))
    assert torch.equal(
        decoder(raw_clip(), 5)["audio"], ClipDecoder(16_000, 0.1, None, 4)(raw_clip(), 5)["audio"]
    )


def refused(raw, seconds=0.5):
    with pytest.raises(InputError) as error:
        ClipDecoder(24_000, seconds, None)(raw, 0)
    message = str(error.value)
    assert message.startswith("Clip track-00 of a.tar")
    assert "\n" not in message
    return message


def test_a_clip_shorter_than_the_stage_needs_is_refused_with_both_lengths(raw_clip):
    message = refused(raw_clip(seconds=0.25), seconds=0.3)
    assert "0.25 s long, but this stage trains on 0.3 s" in message


@pytest.mark.parametrize("where", [0.02, 0.5])
def test_damaged_audio_is_refused(raw_clip, where):
    data = bytearray(raw_clip().audio)
    start = int(where * len(data))
    data[start : start + 400] = bytes(byte ^ 0x5A for byte in data[start : start + 400])
    refused(raw_clip(bytes(data)), seconds=1.0)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.95])
def test_audio_that_is_cut_short_is_refused(raw_clip, share):
    data = raw_clip().audio
    refused(raw_clip(data[: int(share * len(data))]), seconds=1.0)


def test_samples_that_are_no_numbers_are_refused(raw_clip):
    audio = torch.zeros(1, 24_000)
    audio[0, 12_000] = math.nan
    message = refused(raw_clip(encode(audio, 24_000, "WAV", "FLOAT")), seconds=1.0)
    assert "NaN or infinite" in message


@pytest.mark.parametrize("form", ["flac", "mel"])
def test_numbers_follow_the_position_of_the_crop(raw_clip, form):
    """At 60 bpm and with the first beat at 0.1 s, the position in seconds is that in beats plus 0.1."""
    raw, mel = raw_clip(seconds=1.2), MelSettings()
    truth = {"tempo_bpm": 60.0, "key": "D", "mode": "minor", "first_beat_s": 0.1}
    raw = dataclasses.replace(raw, clip=dataclasses.replace(raw.clip, truth=truth, start_s=7.5))
    whole = read(raw.audio).samples
    if form == "mel":
        whole = log_mel(resample(whole, 24_000, 16_000)[None], mel)[0]
        raw = dataclasses.replace(raw, audio=to_bytes(whole.float()))
        decoder = ClipDecoder(16_000, 0.32, None, mel=mel, numbers=True)
    else:
        decoder = ClipDecoder(24_000, 0.3, None, numbers=True)
    for number in range(4):
        example = decoder(raw, number)
        if form == "mel":
            windows = whole.unfold(1, 32, 1).transpose(1, 2)
            distance = (windows - example["mel"][..., None]).abs().amax(dim=(0, 1))
            start_s = distance.argmin().item() / 100
        else:
            start_s = place(example["audio"], whole) / 24_000
        numbers = example["numbers"]
        assert numbers["tempo"].item() == 60 and (numbers["tonic"].item(), numbers["mode"].item()) == (2, 1)
        assert numbers["beat"].item() == pytest.approx((7.5 + start_s - 0.1) % 1, abs=1e-5)
    assert "numbers" not in dataclasses.replace(decoder, numbers=False)(raw, 0)
