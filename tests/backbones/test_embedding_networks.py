"""aiSFX against its own package, VGGish against what its description says."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.backbones.aisfx import load_aisfx
from lightning_n2m.backbones.vggish import VGGish, load_vggish
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.embedders import JointEmbedder, load_embedder


def chirp(rate, seconds):
    time = torch.arange(int(rate * seconds)) / rate
    return 0.4 * torch.sin(2 * torch.pi * (200 + 900 * time) * time)[None, None]


def test_aisfx_is_the_network_of_its_package():
    original = pytest.importorskip("aisfx.models.cnn2d").EmbeddingNet("max", 3, 1, 64).eval()
    ours = load_aisfx()
    state = {}
    for key, tensor in ours.state_dict().items():
        if key.startswith("blocks."):
            state[f"conv_block{int(key[7]) + 1}{key[8:]}"] = tensor
    original.load_state_dict(state)
    mel = torch.rand(2, 100, 96, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours(mel), original(mel), atol=1e-4, rtol=1e-4)


def test_aisfx_hears_the_log_mel_of_its_package():
    librosa = pytest.importorskip("librosa")
    audio = chirp(44_100, 3)
    expected = librosa.feature.melspectrogram(
        y=(audio[0, 0] / audio.abs().max()).numpy(), sr=44_100.0, n_mels=96, norm=1.0, fmin=0.0,
        fmax=22_050.0, htk=True, power=2.0, hop_length=1024, win_length=2048,
    )  # fmt: skip
    expected = torch.from_numpy(expected).mul(10_000).add(1).log10() / 9.457798957824707
    torch.testing.assert_close(load_aisfx().log_mel(audio)[0].T, expected, atol=1e-3, rtol=0)


def test_loudness_means_nothing_to_aisfx():
    embedder = load_embedder("aisfx")
    audio = chirp(16_000, 3)
    torch.testing.assert_close(
        embedder.embed(audio, 16_000), embedder.embed(audio / 10, 16_000), atol=1e-3, rtol=0
    )


@pytest.fixture(scope="module")
def vggish_file(tmp_path_factory):
    """Random weights of the class, saved as the published file is: no log-mel in it."""
    torch.manual_seed(0)
    state = {key: value for key, value in VGGish().state_dict().items() if not key.startswith("mel.")}
    path = tmp_path_factory.mktemp("vggish") / "vggish-10086976.pth"
    torch.save(state, path)
    return path


def test_vggish_has_the_parts_that_its_file_has(vggish_file):
    shapes = {key: tuple(value.shape) for key, value in torch.load(vggish_file, weights_only=True).items()}
    # The published checkpoint: six convolutions and three dense layers, 72 million weights.
    assert shapes["features.0.weight"] == (64, 1, 3, 3)
    assert shapes["features.13.weight"] == (512, 512, 3, 3)
    assert shapes["embeddings.0.weight"] == (4096, 512 * 4 * 6)
    assert shapes["embeddings.4.weight"] == (128, 4096)
    assert sum(math.prod(shape) for shape in shapes.values()) == 72_141_184


def test_vggish_embeds_patches_of_a_second(vggish_file):
    embedder = load_embedder(f"vggish:{vggish_file}")
    found = embedder.embed(torch.cat([chirp(16_000, 3.1), chirp(16_000, 3.1) * 0.1]), 16_000)
    assert found.shape == (2, 3, 128)
    assert found.std() > 0
    # A file loaded again is the same network.
    torch.testing.assert_close(found, load_embedder(f"vggish:{vggish_file}").embed(
        torch.cat([chirp(16_000, 3.1), chirp(16_000, 3.1) * 0.1]), 16_000))  # fmt: skip


def test_vggish_hears_a_tone_in_its_mel_channel():
    time = torch.arange(16_000) / 16_000
    mel = VGGish().log_mel(torch.sin(2 * torch.pi * 1000 * time)[None, None])
    # HTK's mel scale from 125 to 7500 Hz in 65 steps.
    low, high, tone = (2595 * math.log10(1 + f / 700) for f in (125, 7500, 1000))
    assert mel.shape == (1, 97, 64)
    assert abs(int(mel[0, 50].argmax()) - ((tone - low) / (high - low) * 65 - 1)) < 1


@pytest.mark.parametrize("damage", ["missing", "text", "another"])
def test_what_is_not_vggish_is_refused(tmp_path, damage):
    path = tmp_path / "weights.pth"
    if damage == "text":
        path.write_text("hello")
    elif damage == "another":
        torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3), "head.weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"weights\.pth.*vggish-10086976\.pth"):
        load_vggish(path)


class Tower:
    """A joint model whose embedding of a window is its mean and its largest sample."""

    name, sample_rate, dimension = "tower", 8000, 2

    def embed_audio(self, audio):
        return torch.stack([audio.mean(dim=1), audio.amax(dim=1)], dim=1)

    def embed_text(self, texts):
        raise NotImplementedError


def test_a_joint_model_embeds_windows_of_ten_seconds():
    audio = torch.cat([torch.full((1, 1, 160_000), 0.1), torch.full((1, 1, 165_000), 0.3)], dim=-1)
    found = JointEmbedder(Tower()).embed(audio, 16_000)
    assert found.shape == (1, 2, 2)
    assert found[0, 0, 0] == pytest.approx(0.1, abs=1e-3)
    assert found[0, 1, 0] == pytest.approx(0.3, abs=1e-3)
