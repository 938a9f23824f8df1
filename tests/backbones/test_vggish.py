"""VGGish against its published description."""

from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.backbones.vggish import VGGish, load_vggish
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.embedders import load_embedder


def chirp(rate, seconds):
    time = torch.arange(int(rate * seconds)) / rate
    return 0.4 * torch.sin(2 * torch.pi * (200 + 900 * time) * time)[None, None]


@pytest.fixture(scope="module")
def vggish_file(tmp_path_factory):
    """Random weights of the class, saved as the published file is: no log-mel in it."""
    torch.manual_seed(0)
    state = {key: value for key, value in VGGish().state_dict().items() if not key.startswith("mel.")}
    path = tmp_path_factory.mktemp("vggish") / "vggish-10086976.pth"
    torch.save(state, path)
    return path


def test_its_parts_are_those_of_the_published_file(vggish_file):
    shapes = {key: tuple(value.shape) for key, value in torch.load(vggish_file, weights_only=True).items()}
    # The published checkpoint: six convolutions and three dense layers, 72 million weights.
    assert shapes["features.0.weight"] == (64, 1, 3, 3)
    assert shapes["features.13.weight"] == (512, 512, 3, 3)
    assert shapes["embeddings.0.weight"] == (4096, 512 * 4 * 6)
    assert shapes["embeddings.4.weight"] == (128, 4096)
    assert sum(math.prod(shape) for shape in shapes.values()) == 72_141_184


def test_it_embeds_patches_of_a_second(vggish_file):
    embedder = load_embedder(f"vggish:{vggish_file}")
    embedded = embedder.embed(torch.cat([chirp(16_000, 3.1), chirp(16_000, 3.1) * 0.1]), 16_000)
    assert embedded.shape == (2, 3, 128)
    assert embedded.std() > 0
    # A file loaded again is the same network.
    torch.testing.assert_close(embedded, load_embedder(f"vggish:{vggish_file}").embed(
        torch.cat([chirp(16_000, 3.1), chirp(16_000, 3.1) * 0.1]), 16_000))  # fmt: skip


def test_a_tone_lies_in_its_mel_channel():
    time = torch.arange(16_000) / 16_000
    mel = VGGish().log_mel(torch.sin(2 * torch.pi * 1000 * time)[None, None])
    # HTK's mel scale from 125 to 7500 Hz in 65 steps.
    low, high, tone = (2595 * math.log10(1 + f / 700) for f in (125, 7500, 1000))
    assert mel.shape == (1, 97, 64)
    assert abs(int(mel[0, 50].argmax()) - ((tone - low) / (high - low) * 65 - 1)) < 1


@pytest.mark.parametrize("damage", ["missing", "text", "another"])
def test_other_files_are_refused(tmp_path, damage):
    path = tmp_path / "weights.pth"
    if damage == "text":
        path.write_text("hello")
    elif damage == "another":
        torch.save({"features.0.weight": torch.zeros(64, 1, 3, 3), "head.weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"weights\.pth.*vggish-10086976\.pth"):
        load_vggish(path)


def test_the_embedding_is_taken_before_the_activation(vggish_file):
    """As the published TF-Hub model exports it: half of the values of random weights are negative."""
    network = load_vggish(vggish_file)
    mel = network.log_mel(chirp(16_000, 3.1))[:, :96]
    embedding = network(mel)
    assert 0.2 < float((embedding < 0).double().mean()) < 0.8
    # It is the last linear layer of what the layers before it give.
    hidden = network.embeddings[:-1](network.features(mel[:, None]).permute(0, 2, 3, 1).flatten(1))
    last = network.embeddings[-1]
    torch.testing.assert_close(embedding, hidden @ last.weight.T + last.bias)
