"""Every embedder: known degradations in order, and a set at no distance from itself."""

from __future__ import annotations

import pytest
import torch

from lightning_n2m.audio.degradations import add_noise, low_pass, white_noise
from lightning_n2m.audio.io import read
from lightning_n2m.audio.resample import resample
from lightning_n2m.backbones.vggish import VGGish
from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.evaluation.clip_features import embed_clips
from lightning_n2m.evaluation.embedders import JointEmbedder, load_embedder
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.evaluation.kernel_distance import KernelAudioDistance
from lightning_n2m.evaluation.reference_embeddings import (
    EmbeddingSettings,
    decoded,
    embed_shards,
    excerpt,
    middle,
)
from tests.paths import CLIPS as clips_folder

CLIPS = sorted(clips_folder.glob("*.ogg"))
RATE = 16_000
SECONDS = 3.4


@pytest.fixture(scope="module")
def music():
    """Six seconds of twelve pieces, ``(12, 1, t)``."""
    clips = (read(path) for path in CLIPS)
    return torch.stack([middle(resample(c.samples, c.sample_rate, RATE), RATE, 6.1) for c in clips])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A Fréchet distance")
@pytest.mark.parametrize("name", ["musicnn", "aisfx"])
def test_both_distances_put_known_degradations_in_order(music, name):
    embedder = load_embedder(name)
    reference = embedder.embed(music, RATE)
    kernel_distance = KernelAudioDistance(reference)
    embedded = {
        "noise": [embedder.embed(add_noise(music, snr), RATE) for snr in (20, 10, 5)],
        "low-pass": [embedder.embed(low_pass(music, RATE, cutoff), RATE) for cutoff in (3000, 1000)],
        "white noise": [embedder.embed(white_noise(music), RATE)],
    }
    for distance in (lambda x: frechet_distance(x, reference, draws=0).value, kernel_distance):
        noise, treble, worst = ([distance(x) for x in rows] for rows in embedded.values())
        ladder = [distance(reference), *noise, *worst]
        assert ladder == sorted(ladder)
        assert ladder[0] < treble[0] < treble[1] < worst[0]


class Tower:
    """A joint model whose embedding of a window is its mean square and its largest sample."""

    name, sample_rate, dimension = "tower", 8000, 2

    def embed_audio(self, audio):
        return torch.stack([audio.square().mean(dim=1), audio.amax(dim=1)], dim=1)

    def embed_text(self, texts):
        raise NotImplementedError


@pytest.fixture(scope="module")
def vggish(tmp_path_factory):
    """VGGish with random weights."""
    torch.manual_seed(0)
    state = {key: value for key, value in VGGish().state_dict().items() if not key.startswith("mel.")}
    path = tmp_path_factory.mktemp("vggish") / "vggish.pth"
    torch.save(state, path)
    return load_embedder(f"vggish:{path}")


@pytest.mark.filterwarnings("ignore:A Fréchet distance")
@pytest.mark.parametrize("name", ["musicnn", "aisfx", "vggish", "joint"])
def test_a_set_is_at_no_distance_from_itself(name, request, shards, tmp_path):
    """Cached references and evaluated clips take the same path: excerpt, patches, precision."""
    loaders = {"vggish": lambda: request.getfixturevalue("vggish"), "joint": lambda: JointEmbedder(Tower())}
    embedder = loaders.get(name, lambda: load_embedder(name))()
    files = find_shards([shards], "train")
    reference = embed_shards(files, EmbeddingSettings((embedder,), SECONDS), tmp_path).embedded[embedder.name]
    clips = [excerpt(audio, RATE, SECONDS) for file in files for _, audio in decoded(file)]
    evaluated = embed_clips(clips, embedder).float()
    assert evaluated.shape == reference.shape
    distance = frechet_distance(evaluated, reference, draws=0).value
    # Another excerpt of the same clips is at a distance from them.
    others = [audio[:, : round(SECONDS * RATE)] for file in files for _, audio in decoded(file)]
    other_distance = frechet_distance(embed_clips(others, embedder).float(), reference, draws=0).value
    assert abs(distance) < 1e-4 * other_distance


def test_a_joint_model_embeds_windows_of_ten_seconds():
    audio = torch.cat([torch.full((1, 1, 160_000), 0.1), torch.full((1, 1, 165_000), 0.3)], dim=-1)
    embedded = JointEmbedder(Tower()).embed(audio, RATE)
    assert embedded.shape == (1, 2, 2)
    assert embedded[0, 0, 0] == pytest.approx(0.01, abs=1e-3)
    assert embedded[0, 1, 0] == pytest.approx(0.09, abs=1e-3)
