"""Windows of clips, and where a joint model comes from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoTokenizer, ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

from lightning_n2m.audio.resample import resample
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.embedders import load_embedder
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.mulan.joint import embed_clips, windows
from lightning_n2m.mulan.loading import load_joint


class Loudness:
    """A joint model by hand: how loud the two halves of a window are."""

    name, sample_rate, dimension = "loudness", 10, 2

    def embed_audio(self, audio: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(audio.abs().unflatten(-1, (2, -1)).mean(dim=-1), dim=-1)

    def embed_text(self, texts) -> torch.Tensor:
        raise NotImplementedError


def test_windows_do_not_overlap_and_the_rest_is_dropped() -> None:
    audio = torch.arange(25.0)[None]
    assert windows(audio, 10, 1.0).tolist() == [[[*range(10)], [*range(10, 20)]]]


def test_a_short_clip_is_repeated_until_it_fills_a_window() -> None:
    assert windows(torch.tensor([[1.0, 2.0, 3.0]]), 8, 1.0).tolist() == [[[1, 2, 3, 1, 2, 3, 1, 2]]]


def test_a_clip_is_the_mean_of_its_windows_on_the_sphere() -> None:
    audio = torch.cat([torch.ones(1, 50), torch.zeros(1, 50), torch.zeros(1, 50), torch.ones(1, 50)], dim=1)
    vector = embed_clips(Loudness(), audio)
    assert vector.tolist() == [pytest.approx([0.5**0.5, 0.5**0.5])]


@pytest.fixture(scope="module")
def clap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLAP of the published class, tiny and untrained, as save_pretrained leaves it."""
    folder = tmp_path_factory.mktemp("clap")
    words = ["[PAD]", "[UNK]", "slow", "fast", "waltz", "tango"]
    rules = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "[UNK]"))
    rules.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="[UNK]", pad_token="[PAD]")
    text = dict(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=40, projection_dim=12, pad_token_id=0,
    )  # fmt: skip
    audio = dict(
        num_mel_bins=64, spec_size=256, hidden_size=32, patch_embeds_hidden_size=8, depths=[1, 1, 1],
        num_attention_heads=[1, 1, 1], num_hidden_layers=3, projection_dim=12, window_size=2, patch_size=4,
        patch_stride=[4, 4], enable_fusion=False, num_classes=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = ClapModel(ClapConfig(text_config=text, audio_config=audio, projection_dim=12))
    model.save_pretrained(folder)
    extractor = ClapFeatureExtractor(
        feature_size=64, sampling_rate=48_000, max_length_s=10, truncation="rand_trunc"
    )
    extractor.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_clap_embeds_audio_and_text_on_one_sphere(clap: Path) -> None:
    joint = load_joint(str(clap))
    generator = torch.Generator().manual_seed(0)
    audio = torch.rand(2, 480_000, generator=generator) - 0.5
    vectors, again = joint.embed_audio(audio), joint.embed_audio(audio)
    texts = joint.embed_text(["slow waltz", "fast tango", "slow waltz"])
    assert joint.sample_rate == 48_000
    assert vectors.shape == (2, joint.dimension)
    assert texts.shape == (3, joint.dimension)
    assert torch.equal(vectors, again)
    assert vectors.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert texts.norm(dim=-1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert torch.allclose(texts[0], texts[2], atol=1e-6)
    assert not torch.allclose(texts[0], texts[1], atol=1e-4)


def test_clap_equals_the_library(clap: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(clap)
    model = ClapModel.from_pretrained(clap).eval()
    with torch.no_grad():
        expected = model.get_text_features(**tokenizer("slow waltz", return_tensors="pt")).pooler_output
    assert torch.allclose(load_joint(str(clap)).embed_text(["slow waltz"]), expected, atol=1e-5)


def test_other_weights_have_another_name(clap: Path, tmp_path: Path) -> None:
    name = load_joint(str(clap)).name
    assert load_joint(str(clap)).name == name
    for file in clap.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = ClapModel.from_pretrained(clap)
    with torch.no_grad():
        model.text_projection.linear1.bias.add_(0.1)
    model.save_pretrained(tmp_path)
    assert load_joint(str(tmp_path)).name != name


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_folder_without_its_parts_is_refused_in_one_sentence(clap: Path, tmp_path: Path, lost: str) -> None:
    for file in clap.iterdir():
        if file.name != lost:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=str(tmp_path)) as raised:
        load_joint(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_what_is_no_joint_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_joint("nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="'bert'"):
        load_joint(str(tmp_path))


def test_clap_is_an_embedder_for_frechet_distances(clap: Path) -> None:
    embedder = load_embedder(str(clap))
    audio = torch.randn(3, 1, 16_000 * 21, generator=torch.Generator().manual_seed(0)) * 0.1
    found = embedder.embed(audio, 16_000)
    assert found.shape == (3, 2, 12)  # two windows of ten seconds, the rest is dropped
    assert embedder.name.startswith("clap ")
    model = load_joint(str(clap))
    windows_48k = resample(audio[1, :, 160_000:320_000], 16_000, model.sample_rate)
    torch.testing.assert_close(found[1, 1], model.embed_audio(windows_48k)[0], atol=1e-2, rtol=0)
    assert frechet_distance(found, found, draws=0).value == pytest.approx(0, abs=1e-5)
