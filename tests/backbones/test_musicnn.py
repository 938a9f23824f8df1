from __future__ import annotations

import json

import pytest
import torch

from lightning_n2m.audio.io import read
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.backbones.musicnn import PATCH, LogMel, load_musicnn, patches
from lightning_n2m.errors import InputError
from tests.paths import ASSETS, CLIPS

GOLDEN = json.loads((ASSETS / "musicnn_golden.json").read_text())


def excerpt(name):
    """The 6.2 s that the original was run on."""
    clip = read(CLIPS / f"{name}.ogg", 12 * 24_000, round(6.2 * 24_000))
    return resample_file(clip.samples, clip.sample_rate, 16_000)[None]


@pytest.mark.parametrize("case", GOLDEN)
def test_it_equals_the_original(case):
    name, corpus = case.split()
    network = load_musicnn(corpus)
    output = network(excerpt(name))
    assert list(network.tags) == GOLDEN[case]["labels"]
    expected = torch.tensor(GOLDEN[case]["probabilities"])
    torch.testing.assert_close(output.probabilities, expected, atol=2e-5, rtol=0)
    torch.testing.assert_close(
        output.embedding[0], torch.tensor(GOLDEN[case]["embedding"]), atol=2e-4, rtol=0
    )


def test_patches_of_a_clip_do_not_depend_on_its_neighbours():
    network = load_musicnn("MTT")
    both = torch.cat([excerpt("tango"), excerpt("techno")])
    alone, together = network(both[1:]), network(both)
    torch.testing.assert_close(together.logits.view(2, 2, -1)[1], alone.logits, atol=1e-4, rtol=0)


def test_half_precision_changes_no_tag():
    network = load_musicnn("MSD")
    clip = excerpt("techno")
    full = network(clip).probabilities
    with torch.autocast("cpu", torch.bfloat16):
        half = network(clip)
    assert half.embedding.dtype == torch.float32
    assert (half.probabilities - full).abs().max() < 0.05


def test_patches_cut_without_gap_or_overlap():
    mel = torch.arange(1000.0).expand(2, 96, -1)
    cut = patches(mel)
    assert cut.shape == (2, 5, 96, PATCH)
    assert torch.equal(cut[1, :, 0].flatten(), torch.arange(5.0 * PATCH))
    assert patches(mel, step=100)[0, 1, 0, 0] == 100


def test_audio_shorter_than_a_patch_is_refused():
    with pytest.raises(InputError, match=r"patches of 2\.99 s.*only 0\.992 s"):
        load_musicnn("MTT")(torch.zeros(1, 1, 16_000))


def test_a_tone_rises_in_the_mel_channel_of_its_pitch():
    seconds = torch.arange(32_000) / 16_000
    low, high = (LogMel()(torch.sin(2 * torch.pi * pitch * seconds)[None, None]) for pitch in (300.0, 3000.0))
    # Slaney's scale: 200/3 Hz a mel below 1 kHz; 96 channels share 0 to 8 kHz, which is 45.2 mel.
    assert low[0, :, 50].argmax() == round(300 / (200 / 3) / 45.245 * 97) - 1
    assert high[0, :, 50].argmax() > low[0, :, 50].argmax() + 30


def test_missing_weights_are_reported_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    load_musicnn.cache_clear()
    with pytest.raises(InputError, match="requirements-no-deps"):
        load_musicnn("MTT")
