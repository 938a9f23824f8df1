from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, ClapModel

from lightning_n2m.audio.resample import resample
from lightning_n2m.evaluation.embedders import load_embedder
from lightning_n2m.evaluation.frechet import frechet_distance
from lightning_n2m.mulan.loading import load_joint


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
