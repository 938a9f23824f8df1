from __future__ import annotations

import math
import pickle

import pytest
import torch

from lightning_n2m.audio.io import encode, read
from lightning_n2m.audio.resample import resample
from lightning_n2m.data.clips import ClipDecoder
from lightning_n2m.data.schema import Captions
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.errors import InputError


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


@pytest.mark.parametrize("rate", [16_000, 3200])
def test_the_crop_is_brought_to_the_stages_rate(raw_clip, rate):
    raw = raw_clip()
    original = ClipDecoder(24_000, 0.512, None)(raw, 3)["audio"]
    crop = ClipDecoder(rate, 0.512, None)(raw, 3)["audio"]
    torch.testing.assert_close(crop, resample(original, 24_000, rate)[:, : round(0.512 * rate)])


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
    assert "no numbers" in message
