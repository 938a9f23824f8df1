"""`test` of a cascade, with the real evaluation models, on a corpus of twelve pieces."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from lightning_n2m.audio.io import probe, read, write
from lightning_n2m.cli.main import main
from tests.integration.conftest import ROOT
from tests.integration.ranks import launch

SECONDS = 6.4


def evaluate(exported: Path, shards: Path, folder: Path, *more: str) -> None:
    main([
        "test",
        f"--config={ROOT / 'configs' / 'cascade' / 'spectrogram.yaml'}",
        f"--model.generator.folder={exported / 'spectrogram_generator'}",
        f"--model.refiner.folder={exported / 'spectrogram_vocoder'}",
        f"--model.super_resolution.folder={exported / 'super_resolution'}",
        "--model.progress=false",
        f"--data.evaluation_set.shards={shards}",
        f"--data.evaluation_set.seconds={SECONDS}",
        f"--evaluation.folder={folder}",
        f"--evaluation.cache={folder.parent / 'cache'}",
        f"--evaluation.merge_into={folder.parent / 'summary.json'}",
        "--evaluation.refiner_clips=2",
        "--evaluation.one_seed_clips=2",
        *more,
    ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_a_cascade_is_evaluated_by_one_command(exported: Path, shards: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "evaluation"
    evaluate(exported, shards, folder)
    metrics = {row["name"]: row for row in json.loads((folder / "evaluation.json").read_text())}
    assert all(
        set(row)
        == {"name", "value", "lower_bound", "upper_bound", "higher_is_better", "n", "evaluator", "command"}
        for row in metrics.values()
    )
    for name in ("FAD musicnn-MTT", "FAD aisfx", "KAD musicnn-MTT", "KAD aisfx"):
        row = metrics[f"spectrogram: {name}"]
        noisy = metrics[f"spectrogram: {name}, reference + noise 5 dB"]
        assert row["lower_bound"] < noisy["value"] < row["upper_bound"]
        # Stages of six training steps generate noise, not music.
        assert row["value"] > noisy["value"]
    similar = metrics["spectrogram: text-audio similarity, tags of musicnn-MTT"]
    assert similar["lower_bound"] < similar["upper_bound"]
    assert metrics["spectrogram: clips that repeat training music"]["value"] == 0
    assert metrics["spectrogram: SpectrogramVocoder on ground-truth input, STFT distance"]["upper_bound"] > 0
    assert metrics["spectrogram: SuperResolution on ground-truth input, FAD aisfx"]["n"] > 0
    assert 0 <= metrics["spectrogram: SpectrogramVocoder on ground-truth input, key kept"]["value"] <= 1
    assert "spectrogram: SuperResolution on ground-truth input, key kept" not in metrics
    assert metrics["spectrogram: drums present or absent as requested"]["evaluator"].startswith(
        "linear probe"
    )
    assert "spectrogram: loudness envelopes across prompts at one seed, correlation" in metrics

    generated = sorted((folder / "generated").glob("*.flac"))
    assert {(probe(path).sample_rate, probe(path).duration) for path in generated} == {(16_000, SECONDS)}
    page, audio = ((folder / name).read_text() for name in ("index.html", "audio.html"))
    assert all(html.escape(name) in page for name in metrics)
    assert all(
        f"generated/{path.name}" in audio and (folder / "references" / path.name).is_file()
        for path in generated
    )
    assert json.loads((tmp_path / "summary.json").read_text()) == list(metrics.values())
    assert str(folder / "index.html") in capsys.readouterr().out

    # A rerun generates only what is missing, the same clip, and finds a planted training clip. Held-out
    # recordings are not flagged, since the thresholds come from them.
    before = read(generated[0]).samples
    generated[0].unlink()
    write(generated[1], _training_clip(shards), 16_000)
    planted = generated[1].stat().st_mtime_ns
    evaluate(exported, shards, folder, "--evaluation.refiner_clips=0")
    # Outside its batch it is rounded differently, which the vocoder's initial phases amplify.
    assert (read(generated[0]).samples - before).std() < 0.01 * before.std()
    assert generated[1].stat().st_mtime_ns == planted
    again = {row["name"]: row for row in json.loads((folder / "evaluation.json").read_text())}
    assert again["spectrogram: clips that repeat training music"]["value"] == 1
    names = [name for name in metrics if "FAD" in name and "ground-truth" not in name]
    bounds = [metrics[name]["lower_bound"] for name in names]
    assert bounds == pytest.approx([again[name]["lower_bound"] for name in names])

    # Other settings do not mix with existing clips.
    with pytest.raises(SystemExit) as refusal:
        evaluate(exported, shards, folder, "--model.seed=1")
    assert refusal.value.code == 2
    assert "other weights or settings" in capsys.readouterr().err


def _training_clip(shards: Path):
    """The last 6.4 s of a training piece, aligned with no patch."""
    from lightning_n2m.data.shard_reader import find_shards
    from lightning_n2m.evaluation.reference_embeddings import decoded

    _, audio = next(decoded(find_shards([shards], "train")[0]))
    length = round(SECONDS * 16_000)
    return audio[:, -length - 8111 : -8111]


def test_a_cascade_without_prompts_cannot_be_tested(exported: Path, tmp_path: Path, capsys) -> None:
    with pytest.raises(SystemExit) as refusal:
        evaluate(exported, tmp_path, tmp_path / "evaluation", "--data.evaluation_set=null")
    assert refusal.value.code == 2
    assert "--data.evaluation_set" in capsys.readouterr().err


@pytest.mark.slow
def test_two_ranks_share_the_prompts(exported: Path, tmp_path: Path) -> None:
    """Each prompt is generated by one rank, with the same noise as on one process."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a slow waltz\nfast techno\na folk song\n")

    def predict(folder: Path, *more: str) -> list[str]:
        return [
            "predict",
            f"--config={ROOT / 'configs' / 'cascade' / 'spectrogram.yaml'}",
            f"--model.generator.folder={exported / 'spectrogram_generator'}",
            f"--model.refiner.folder={exported / 'spectrogram_vocoder'}",
            "--model.super_resolution=null",
            "--model.progress=false",
            "--model.seconds=1",
            f"--data.file={prompts}",
            f"--output.folder={folder}",
            *more,
        ]

    main(predict(tmp_path / "one"))
    more = ["--trainer.accelerator=cpu", "--trainer.devices=2", "--trainer.strategy=ddp"]
    launch(2, [predict(tmp_path / "two", *more)], ROOT)
    names = sorted(path.name for path in (tmp_path / "one").glob("*.wav"))
    assert len(names) == 3
    assert sorted(path.name for path in (tmp_path / "two").glob("*.wav")) == names
    for name in names:
        one, two = (read(tmp_path / folder / name).samples for folder in ("one", "two"))
        assert (one - two).abs().max() < 1e-3
    lines = (tmp_path / "two" / "manifest.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["file"] for line in lines) == names
