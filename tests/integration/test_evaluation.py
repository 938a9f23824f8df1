"""`test` of a cascade, with the real judges, on a corpus of twelve pieces."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from lightning_n2m.audio.io import probe, read, write
from lightning_n2m.cli.main import main
from tests.integration.conftest import ROOT

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
        f"--evaluation.cache={folder.parent / 'heard'}",
        f"--evaluation.merge_into={folder.parent / 'summary.json'}",
        "--evaluation.refiner_clips=2",
        *more,
    ])  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A Fréchet distance")
def test_a_cascade_is_judged_by_one_command(exported: Path, shards: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "evaluation"
    evaluate(exported, shards, folder)
    figures = {row["name"]: row for row in json.loads((folder / "evaluation.json").read_text())}
    assert all(
        set(row) == {"name", "value", "floor", "ceiling", "higher_is_better", "n", "judge", "command"}
        for row in figures.values()
    )
    for name in ("FAD musicnn-MTT", "FAD aisfx"):
        row = figures[f"spectrogram: {name}"]
        noisy = figures[f"spectrogram: {name}, real + noise 5 dB"]
        assert row["floor"] < noisy["value"] < row["ceiling"]
        # Stages of six training steps make noise, not music.
        assert row["value"] > noisy["value"]
    similar = figures["spectrogram: text-audio similarity, tags of musicnn-MTT"]
    assert similar["floor"] < similar["ceiling"]
    assert figures["spectrogram: clips that repeat training music"]["value"] == 0
    assert figures["spectrogram: SpectrogramVocoder alone, STFT distance"]["ceiling"] > 0
    assert figures["spectrogram: SuperResolution alone, FAD aisfx"]["n"] > 0
    assert figures["spectrogram: drums present or absent as asked"]["judge"].startswith("linear probe")

    made = sorted((folder / "generated").glob("*.flac"))
    assert {(probe(path).sample_rate, probe(path).duration) for path in made} == {(16_000, SECONDS)}
    page, audio = ((folder / name).read_text() for name in ("index.html", "audio.html"))
    assert all(html.escape(name) in page for name in figures)
    assert all(f"generated/{path.name}" in audio and (folder / "real" / path.name).is_file() for path in made)
    assert json.loads((tmp_path / "summary.json").read_text()) == list(figures.values())
    assert str(folder / "index.html") in capsys.readouterr().out

    # A rerun makes only what is missing, the very same clip, and finds a planted training clip; held-out
    # renderings are not flagged: the thresholds come from them.
    before = read(made[0]).samples
    made[0].unlink()
    write(made[1], _training_clip(shards), 16_000)
    planted = made[1].stat().st_mtime_ns
    evaluate(exported, shards, folder, "--evaluation.refiner_clips=0")
    # Made alone and not in a batch it is rounded otherwise, of which the draft's phases make more.
    assert (read(made[0]).samples - before).std() < 0.01 * before.std()
    assert made[1].stat().st_mtime_ns == planted
    found = {row["name"]: row for row in json.loads((folder / "evaluation.json").read_text())}
    assert found["spectrogram: clips that repeat training music"]["value"] == 1
    floors = [row["floor"] for name, row in figures.items() if "FAD" in name and "alone" not in name]
    assert floors == pytest.approx([found[n]["floor"] for n in figures if "FAD" in n and "alone" not in n])

    # Other settings do not mix with what is there.
    with pytest.raises(SystemExit) as refusal:
        evaluate(exported, shards, folder, "--model.seed=1")
    assert refusal.value.code == 2
    assert "other weights or settings" in capsys.readouterr().err


def _training_clip(shards: Path):
    """The last 6.4 s of a training piece, half a second off any grid."""
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
