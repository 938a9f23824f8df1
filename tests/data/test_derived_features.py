"""Chroma and onsets of tones and clicks; the frames of a crop are those of its time."""

from __future__ import annotations

import pytest
import torch

from data_pipeline.__main__ import main
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.derived_features import (
    FRAME_RATE,
    FeatureForm,
    chroma_and_onsets,
    musicnn_features,
    open_features,
)
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.errors import InputError
from tests.data.conftest import refused


def tone(frequency, seconds, rate=16_000):
    return 0.3 * torch.sin(2 * torch.pi * frequency * torch.arange(round(seconds * rate)) / rate)[None]


@pytest.mark.parametrize(("frequency", "pitch_class"), [(440, 9), (261.63, 0), (130.81, 0), (739.99, 6)])
def test_a_tone_belongs_to_its_pitch_class(frequency, pitch_class):
    features = chroma_and_onsets(tone(frequency, 2))
    assert features.shape == (13, 2 * FRAME_RATE)
    chroma = features[:12, 3:-3]
    assert (chroma.argmax(0) == pitch_class).all() and chroma[pitch_class].min() > 0.99
    others = torch.cat([chroma[:pitch_class], chroma[pitch_class + 1 :]])
    assert others.max() < 0.2


def test_onsets_are_where_notes_begin():
    fade = torch.exp(-torch.arange(16_000) / 1600)  # a note that rings out, without a click at its end
    audio = torch.cat([torch.zeros(1, 16_000), tone(300, 1) * fade, torch.zeros(1, 8_000), tone(500, 0.5)], 1)
    onsets = chroma_and_onsets(audio)[12]
    assert sorted(onsets.topk(2).indices.tolist()) == [12, 31]  # 1 s and 2.5 s, at 12.5 frames a second
    assert onsets[:11].max() == 0


def test_musicnn_features_are_those_of_the_tagger_that_may_train():
    """Its own outputs follow from the same layers: the maximum over time of the last of them."""
    from lightning_n2m.backbones.musicnn import load_musicnn

    audio = 0.1 * torch.randn(1, 16_000 * 3, generator=torch.Generator().manual_seed(0))
    features = musicnn_features(audio)
    assert features.shape == (64, 37) and features.abs().max() < 2
    tagger = load_musicnn("MSD")
    mel = tagger.log_mel(audio[None])[..., :187]
    last = tagger.levels(mel)[-1]
    pooled = tagger.pooled_norm(
        torch.stack(
            [torch.cat(tagger.levels(mel), 1).amax(2), torch.cat(tagger.levels(mel), 1).mean(2)], 2
        ).flatten(1)
    )
    assert torch.equal(tagger.predict_patches(mel).pooled, pooled)
    # Inner frames do not depend on the end of the audio.
    middle = last[0, :, 50:55].mean(1) / 8
    torch.testing.assert_close(features[:, 10], middle, atol=1e-3, rtol=1e-3)


def test_a_crop_gets_the_features_of_its_time(build, monkeypatch):
    """The chroma of a random crop equals that of the whole clip at the same place."""
    monkeypatch.setattr("tests.data.conftest.noise", lambda seed, seconds: sweep(seconds))
    folder = build([2], seconds=6.0)
    assert main(["shard", "--output", str(folder), "--derive", "chroma", "--workers", "1"]) == 0
    decoder = ClipDecoder(16_000, 1.6, None, features=open_features(["chroma"], [folder]))
    (file,) = find_shards([folder], "train")
    starts = set()
    for number, raw in enumerate(read_shard(file)):
        example = decoder(raw, number)
        found = example["features"]["chroma"]
        assert found.shape == (13, 20)
        # The pitch rises by one class each half second: the crop's own audio has the same classes.
        expected = chroma_and_onsets(example["audio"])[:12].argmax(0)
        agreement = (found[:12].argmax(0) == expected)[2:-2].float().mean()
        assert agreement > 0.7
        starts.add(int(expected[10]))
    assert len(starts) == 2, "two crops at different places"


def sweep(seconds):
    notes = [tone(220 * 2 ** (step / 12), 0.5, 24_000) for step in range(round(2 * seconds))]
    return torch.cat(notes, dim=1)


def test_features_that_are_missing_or_of_other_shards_are_refused(build):
    folder = build([1], seconds=1.0)
    refused(lambda: open_features(["chroma"], [folder]), "--derive chroma")
    refused(lambda: open_features(["tempo"], [folder]), "tempo", "musicnn, chroma")
    assert main(["shard", "--output", str(folder), "--derive", "chroma", "--workers", "1"]) == 0
    assert FeatureForm("chroma").channels == 13
    other = build([2], "other", seconds=1.0)
    (folder / "chroma").rename(other / "chroma")
    with pytest.raises(InputError, match="derived from other shards"):
        open_features(["chroma"], [other])
