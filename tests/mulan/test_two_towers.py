"""The two towers train by the same command line as the stages, and come back from disk."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.functional import cosine_similarity

from lightning_n2m.backbones.musicnn import load_musicnn
from lightning_n2m.cli.main import main
from lightning_n2m.data.shard_reader import find_shards
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.audio_tower import LogMelTower, TaggerTower
from lightning_n2m.mulan.feature_cache import cached_features
from lightning_n2m.mulan.feature_pairs import FeatureStream
from lightning_n2m.mulan.loading import load_joint
from lightning_n2m.mulan.pairs import PairText
from tests.integration.curves import scalars
from tests.mulan.conftest import ROOT, tiny


def test_the_loss_falls_below_that_of_guessing(run: Path) -> None:
    losses = list(scalars(run, "train/loss").values())
    assert sum(losses[-5:]) / 5 < 0.8 * math.log(8)


def test_the_checkpoint_holds_only_what_was_trained(run: Path) -> None:
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    assert {name.rpartition(".")[0] for name in state} <= {
        "", *(f"{tower}.project.{i}" for tower in ("audio", "text") for i in (0, 2, 5))
    }  # fmt: skip


def test_a_resumed_run_repeats_the_uninterrupted_one(
    run: Path, shards: Path, features: Path, tmp_path: Path
) -> None:
    main(["fit", *tiny(tmp_path, shards, features, "--trainer.max_steps=20")])
    main(["fit", *tiny(tmp_path, shards, features, "--ckpt_path=last")])
    whole, resumed = scalars(run, "train/loss"), scalars(tmp_path, "train/loss")
    assert resumed == whole
    assert {step for step in resumed if step >= 20}


def test_an_exported_model_embeds_like_the_run(run: Path, tmp_path: Path, capsys) -> None:
    main(["export", str(run), str(tmp_path / "mulan")])
    assert "averaged weights" in capsys.readouterr().out
    one, other = load_joint(str(run)), load_joint(str(tmp_path / "mulan"))
    texts = ["a slow waltz", "techno"]
    assert one.name == other.name
    assert torch.equal(one.embed_text(texts), other.embed_text(texts))
    assert other.embed_text(texts).norm(dim=-1).tolist() == pytest.approx([1, 1], abs=1e-5)
    assert sum(t.numel() for t in load_file(tmp_path / "mulan" / "weights.safetensors").values()) < 2e6


def test_a_text_is_embedded_the_same_in_any_company(joint: Path) -> None:
    towers = load_joint(str(joint))
    alone = towers.embed_text(["a slow waltz for piano"])
    together = towers.embed_text(["drums", "a slow waltz for piano", "an endless drone of low strings"])
    assert torch.allclose(alone[0], together[1], atol=1e-6)


def test_validate_measures_what_fit_measured(run: Path, shards: Path, features: Path, tmp_path: Path) -> None:
    main(
        [
            "validate",
            f"--config={run / 'config.yaml'}",
            f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}",
            f"--trainer.default_root_dir={tmp_path}",
        ]
    )
    (measured,) = scalars(tmp_path, "val/recall_1_text_to_audio").values()
    assert measured == list(scalars(run, "val/recall_1_text_to_audio").values())[-1]


def test_features_are_cached_and_interrupted_work_is_repeated(shards: Path, tmp_path: Path) -> None:
    (file, *_) = find_shards([shards], "train")
    tower = TaggerTower()
    first = cached_features(tower, file, tmp_path)
    (path,) = tmp_path.rglob("*.npy")
    changed = path.stat().st_mtime_ns
    assert cached_features(tower, file, tmp_path).features.tolist() == first.features.tolist()
    assert path.stat().st_mtime_ns == changed
    path.unlink()  # as a kill between the two files would leave it
    assert cached_features(tower, file, tmp_path).features.tolist() == first.features.tolist()
    assert first.features.shape == (len(first.clips), 1, tower.feature_size)


def test_features_are_the_layers_of_the_tagger(shards: Path, tmp_path: Path) -> None:
    tower, generator = TaggerTower(), torch.Generator().manual_seed(0)
    audio = torch.rand(2, 160_000, generator=generator) - 0.5
    cached = load_musicnn("MSD")(audio[1:, None])
    vector = tower.features(audio)[1]
    assert torch.allclose(vector[-200:], cached.embedding.mean(dim=0), atol=1e-4)
    assert torch.allclose(vector[:1506], cached.pooled.mean(dim=0), atol=1e-4)


def test_half_precision_computes_nearly_the_same() -> None:
    audio = torch.rand(1, 160_000, generator=torch.Generator().manual_seed(0)) - 0.5
    full, half = (TaggerTower(precision=p).features(audio) for p in ("float32", "bfloat16"))
    assert float(cosine_similarity(full, half)) > 0.995


def test_two_ranks_deal_out_what_one_has(shards: Path, features: Path) -> None:
    cached = [cached_features(TaggerTower(), file, features) for file in find_shards([shards], "train")]

    def numbers(batch: int, rank: int, ranks: int, start: int = 0) -> list[tuple[int, str, str]]:
        stream = iter(FeatureStream(cached, PairText(), batch, rank, ranks, start=start))
        items = [next(stream) for _ in range(batch * 6)]
        return [(item["number"], item["track"], item["caption"]) for item in items]

    one, two = numbers(4, 0, 1), numbers(2, 0, 2) + numbers(2, 1, 2)
    assert sorted(two) == one
    assert numbers(4, 0, 1, start=2)[:4] == one[8:12]


def test_a_network_from_scratch_trains_on_audio(shards: Path, tmp_path: Path) -> None:
    audio = {
        "class_path": f"{LogMelTower.__module__}.LogMelTower",
        "init_args": {"depths": [1, 1], "widths": [8, 16], "stem": 8, "block": "basic"},
    }
    options = [
        option
        for option in tiny(tmp_path, shards, tmp_path / "unused", "--trainer.max_steps=2")
        if not option.startswith("--trainer.val_check_interval")
    ]
    main(
        [
            "fit",
            *options,
            f"--model.audio={json.dumps(audio)}",
            "--data.num_workers=0",
            "--data.shuffle_shards=1",
            "--data.batch_size=2",
            "--trainer.val_check_interval=2",
        ]
    )
    assert not (tmp_path / "unused").exists()
    assert len(scalars(tmp_path, "train/loss")) == 2
    vectors = load_joint(str(tmp_path)).embed_audio(torch.zeros(1, 160_000))
    assert vectors.shape == (1, 128)


def test_weights_of_another_shape_are_refused(joint: Path, tmp_path: Path) -> None:
    text = (joint / "config.yaml").read_text().replace("hidden: 512", "hidden: 256")
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "weights.safetensors").write_bytes((joint / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="do not fit"):
        load_joint(str(tmp_path))
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither weights\.safetensors nor"):
        load_joint(str(tmp_path))


@pytest.mark.slow
def test_two_processes_train_as_one_does(shards: Path, features: Path, tmp_path: Path) -> None:
    still = ["--model.audio.dropout=0", "--model.text.dropout=0", "--trainer.max_steps=6"]
    weights = {}
    for name, ranks, batch in (("start", 1, 8), ("one", 1, 8), ("two", 2, 4)):
        options = tiny(tmp_path / name, shards, features, *still, f"--data.batch_size={batch}")
        options += [f"--trainer.devices={ranks}", "--checkpoint.every_n_train_steps=1"]
        options += ["--trainer.max_steps=1"] if name == "start" else []
        options += ["--trainer.strategy=ddp"] if ranks > 1 else []
        command = [sys.executable, "-m", "lightning_n2m", "fit", *options]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        state = torch.load(tmp_path / name / "checkpoints" / "last.ckpt", weights_only=True)
        weights[name] = torch.cat([t.flatten() for t in state["current_model_state"].values()])
    assert (weights["one"] - weights["two"]).norm() < 0.01 * (weights["one"] - weights["start"]).norm()
