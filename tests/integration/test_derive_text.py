"""Training with precomputed text vectors is training without them, bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from data_pipeline.__main__ import main as data_pipeline
from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_vectors import StoredTextVectors
from tests.integration.conftest import fit
from tests.integration.curves import scalars
from tests.paths import ROOT

RECIPE = ROOT / "configs" / "starter" / "waveform_generator.yaml"


@pytest.fixture(scope="module")
def folder(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards with the vectors of all captions beside them."""
    copy = Path(shutil.copytree(shards, tmp_path_factory.mktemp("derived") / "shards"))
    given = ["--shards", str(copy), "--recipe", str(RECIPE), "--tag-orders", "2", "--device", "cpu"]
    assert data_pipeline(["derive-text", *given]) == 0
    return copy


@pytest.mark.slow
def test_training_has_the_losses_of_training_without_precomputed_vectors(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--data.tag_orders=2", "--trainer.max_steps=4"]
    fit("waveform_generator", folder, tmp_path / "encoded", *options, "--data.text_vectors=null")
    run, encoded = TextEncoder.run, set()

    def record(encoder: TextEncoder, texts: list[str], *rest: object) -> object:
        encoded.update(texts)
        return run(encoder, texts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(TextEncoder, "run", record)
    fit("waveform_generator", folder, tmp_path / "stored", *options)
    # Nothing but the prompts that are sampled during validation.
    stored = StoredTextVectors(folder / "text")
    assert not [text for text in encoded if text in stored]
    assert len(encoded) <= 4
    losses = scalars(tmp_path / "stored", "train/loss")
    assert len(losses) == 4
    assert losses == scalars(tmp_path / "encoded", "train/loss")


def test_stale_vectors_are_refused_before_training(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        fit("waveform_generator", folder, tmp_path / "run", "--model.text.max_tokens=32")
    assert exit_code.value.code == 2
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert "64 tokens" in message
    assert "32 tokens" in message
    assert "data.text_vectors" in message
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--recipe", "nowhere.yaml"], "nowhere.yaml"),
        (["--recipe", str(ROOT / "configs" / "starter" / "super_resolution.yaml")], "model.init_args.text"),
        (["--name", "../elsewhere"], "--name"),
    ],
)
def test_wrong_input_is_one_line(
    shards: Path, options: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--shards", str(shards), "--recipe", str(RECIPE), *options]
    assert data_pipeline(["derive-text", *given]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert reason in lines[-1]
    assert len(lines) == 1
