"""Real shards of twelve real clips, towers trained on them for a moment, and a tiny CLAP."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, PreTrainedTokenizerFast

from data_pipeline.__main__ import main as data_pipeline
from lightning_n2m.cli.main import main
from lightning_n2m.mulan.bundle import save_towers
from tests.paths import CLIPS, ROOT


def tiny(run: Path, shards: Path, features: Path, *more: str) -> list[str]:
    """Command-line options that shorten the starter's recipe."""
    options = {
        "--data.shards": shards,
        "--data.features": features,
        "--data.batch_size": 8,
        "--model.optimisation.warmup_steps": 1,
        "--trainer.default_root_dir": run,
        "--trainer.max_steps": 40,
        "--trainer.val_check_interval": 40,
        "--trainer.log_every_n_steps": 1,
        "--trainer.enable_progress_bar": "false",
        "--trainer.enable_model_summary": "false",
        "--checkpoint.every_n_train_steps": 10,
    }
    config = str(ROOT / "configs" / "starter" / "mulan.yaml")
    return ["-c", config, *(f"{key}={value}" for key, value in options.items()), *more]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of the clips that lie in the repository, 12 s each, made by the pipeline's own commands."""
    folder = tmp_path_factory.mktemp("corpus")
    manifest, shards = folder / "manifest.jsonl", folder / "shards"
    listed = ["--source", str(CLIPS), "--metadata", str(CLIPS / "metadata.jsonl"), "--output", str(manifest)]
    assert data_pipeline(["manifest", *listed, "--workers", "1"]) == 0
    cut = ["--clip_seconds", "10", "--tracks_per_shard", "2", "--validation", "0.2", "--test", "0.2"]
    made = ["--manifest", str(manifest), "--output", str(shards), "--workers", "1", *cut]
    assert data_pipeline(["shard", *made]) == 0
    return shards


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the features of the frozen tagger are kept."""
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="session")
def run(shards: Path, features: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short run of the starter's recipe."""
    folder = tmp_path_factory.mktemp("runs") / "mulan"
    main(["fit", *tiny(folder, shards, features)])
    return folder


@pytest.fixture(scope="session")
def joint(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That run as a bundle."""
    return save_towers(run, tmp_path_factory.mktemp("bundle") / "mulan")


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
