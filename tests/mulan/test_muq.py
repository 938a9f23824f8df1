"""MuQ-MuLan by the package that its authors publish, on an untrained model of their class saved to disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    PreTrainedTokenizerFast,
    Wav2Vec2ConformerConfig,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.loading import load_joint

muq = pytest.importorskip("muq")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The three parts of a MuQ-MuLan, as small as its classes allow."""
    from muq.muq.muq import MuQConfig

    place = tmp_path_factory.mktemp("joint")
    torch.manual_seed(0)
    conformer = Wav2Vec2ConformerConfig(
        hidden_size=32,
        num_attention_heads=2,
        intermediate_size=32,
        num_hidden_layers=1,
        position_embeddings_type="rotary",
        conv_depthwise_kernel_size=3,
    ).to_dict()
    conformer = {key: value for key, value in conformer.items() if not isinstance(value, dict)}
    stat = {"melspec_2048_cnt": 1, "melspec_2048_mean": 0.0, "melspec_2048_std": 1.0}
    audio = MuQConfig(conv_dim=16, encoder_dim=32, encoder_depth=1, w2v2_config=conformer, stat=stat)
    muq.MuQ(audio).save_pretrained(place / "muq")
    words = ["<s>", "<pad>", "</s>", "<unk>", "slow", "fast", "waltz", "tango"]
    rules = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    rules.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>", pad_token="<pad>")
    tokenizer.save_pretrained(place / "xlm-roberta")
    config = XLMRobertaConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, max_position_embeddings=300, pad_token_id=1,
    )  # fmt: skip
    XLMRobertaModel(config).save_pretrained(place / "xlm-roberta")
    sizes = {"dim": 16, "tf_depth": 1, "heads": 2, "dim_head": 8}
    model = muq.MuQMuLan(
        config={
            "mulan": {"sr": 24_000, "clip_secs": 10, "dim_latent": 12},
            "audio_model": {"name": str(place / "muq"), "model_dim": 32, "use_layer_idx": -1},
            "text_model": {"name": str(place / "xlm-roberta"), "model_dim": 16, "use_layer_idx": -1},
            "audio_transformer": sizes,
            "text_transformer": sizes,
        }
    )
    model.save_pretrained(place / "mulan")
    return place / "mulan"


def on_the_sphere(vectors: torch.Tensor) -> bool:
    differ = not torch.allclose(vectors[0], vectors[1], atol=1e-5)
    return vectors.norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-5) and differ


def test_it_embeds_text(folder: Path) -> None:
    joint = load_joint(f"muq:{folder}")
    assert (joint.sample_rate, joint.dimension) == (24_000, 12)
    assert on_the_sphere(joint.embed_text(["slow waltz", "fast tango"]))
    assert load_joint(f"muq:{folder}").name == joint.name


def test_it_embeds_audio_or_says_why_not(folder: Path) -> None:
    audio = torch.rand(2, 240_000, generator=torch.Generator().manual_seed(0)) - 0.5
    try:
        assert on_the_sphere(load_joint(f"muq:{folder}").embed_audio(audio))
    except InputError as error:
        if "beside transformers" not in str(error):
            raise
        pytest.skip(str(error))


def test_a_folder_without_weights_is_one_sentence(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    with pytest.raises(InputError, match=str(tmp_path)):
        load_joint(f"muq:{tmp_path}")
