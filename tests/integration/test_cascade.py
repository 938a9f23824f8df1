"""From a prompt to a sound file, through trained stage folders and the command line."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lightning_n2m.audio.io import probe, read
from lightning_n2m.cascade import Cascade
from lightning_n2m.cli.main import main
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.bundle import load_stage
from lightning_n2m.stages.stage_run import StageRun
from tests.integration.conftest import ROOT, STAGES

ROUTES = {"waveform": "waveform_cascader", "spectrogram": "spectrogram_vocoder"}


def predict(exported: Path, out: Path, *more: str, route: str = "waveform") -> None:
    main([
        "predict",
        f"--config={ROOT / 'configs' / 'cascade' / f'{route}.yaml'}",
        f"--model.generator.folder={exported / f'{route}_generator'}",
        f"--model.refiner.folder={exported / ROUTES[route]}",
        f"--model.super_resolution.folder={exported / 'super_resolution'}",
        "--model.seconds=1.5",
        "--model.progress=false",
        f"--output.folder={out}",
        *more,
    ])  # fmt: skip


@pytest.mark.parametrize("route", ROUTES)
def test_a_prompt_becomes_24_khz_audio_of_the_requested_length(
    exported: Path, tmp_path: Path, route: str
) -> None:
    predict(exported, tmp_path, '--data.prompt=a slow waltz, for "piano"', route=route)
    (file,) = tmp_path.glob("*.wav")
    info = probe(file)
    assert (info.sample_rate, info.frames, info.channels) == (24_000, 36_000, 1)
    audio = read(file).samples
    assert torch.isfinite(audio).all() and audio.std() > 0
    (line,) = map(json.loads, (tmp_path / "manifest.jsonl").read_text().splitlines())
    assert line["file"] == file.name
    assert (line["prompt"], line["seed"]) == ('a slow waltz, for "piano"', 0)
    assert [s["num_steps"] for s in line["stages"]] == [4, 4, 4]
    assert len({s["stage"] for s in line["stages"]}) == 3
    assert line["stages"][0]["guidance"]["scale"] == {"waveform": 5.0, "spectrogram": 3.0}[route]


def test_a_generator_in_onnx_gives_the_music_of_its_bundle(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "generator"
    main(["export", str(exported / "waveform_generator"), str(folder), "--format", "onnx"])
    options = ["--data.prompt=a waltz", "--model.super_resolution=null"]
    predict(exported, tmp_path / "torch", *options)
    predict(exported, tmp_path / "onnx", *options, f"--model.generator.folder={folder}")
    expected, audio = (read(tmp_path / name / "a-waltz-seed0.wav").samples for name in ("torch", "onnx"))
    assert expected.shape == audio.shape and expected.std() > 0
    # The samples of the file have steps of 1 / 32768.
    assert (audio - expected).abs().max() < 1e-3 * expected.std() + 2 / 32768
    stages = [json.loads((tmp_path / n / "manifest.jsonl").read_text())["stages"] for n in ("torch", "onnx")]
    assert stages[0][0]["weights"] != stages[1][0]["weights"] and stages[0][1] == stages[1][1]


def test_a_seed_decides_the_clip_and_nothing_is_overwritten(exported: Path, tmp_path: Path) -> None:
    prompt = "--data.prompt=polka"
    predict(exported, tmp_path / "a", prompt, "--model.seed=1")
    predict(exported, tmp_path / "b", prompt, "--model.seed=1")
    predict(exported, tmp_path / "b", prompt, "--model.seed=2")
    predict(exported, tmp_path / "b", prompt, "--model.seed=1", "--model.generator.guidance=2")
    first = (tmp_path / "a" / "polka-seed1.wav").read_bytes()
    again, other, guided = (
        (tmp_path / "b" / f"polka-seed{name}.wav").read_bytes() for name in ("1", "2", "1-2")
    )
    assert first == again
    assert len({first, other, guided}) == 3


def test_the_same_command_again_generates_only_what_is_missing(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data.prompt=polka", "--data.variations=3"]
    predict(exported, tmp_path, *options)
    kept = (tmp_path / "polka-seed0.wav").stat().st_mtime_ns
    missing = tmp_path / "polka-seed0-1.wav"
    content = missing.read_bytes()
    missing.unlink()
    predict(exported, tmp_path, *options)
    assert "2 of 3 clips exist" in capsys.readouterr().out
    assert missing.read_bytes() == content
    assert (tmp_path / "polka-seed0.wav").stat().st_mtime_ns == kept
    assert len(list(tmp_path.iterdir())) == 4  # three clips and the manifest


@pytest.mark.parametrize("prompt", ["Jazz: slow piano", "[rock, jazz]", "null", "- a dash first", "{a: 1}"])
def test_prompts_are_free_text(exported: Path, tmp_path: Path, prompt: str) -> None:
    """The option stands before the config, and its text means something else in YAML."""
    main([
        "predict", "--data.prompt", prompt, "--model.negative", prompt,
        f"--model.generator.folder={exported / 'waveform_generator'}",
        f"--model.refiner.folder={exported / 'waveform_cascader'}", "--model.super_resolution=null",
        "--model.seconds=0.5", f"--output.folder={tmp_path}", "-c", "cascade/waveform.yaml",
    ])  # fmt: skip
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    assert (line["prompt"], line["negative"], line["seconds"]) == (prompt, prompt, 0.5)


def test_weights_that_overflow_write_no_file(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = tmp_path / "generator"
    shutil.copytree(exported / "waveform_generator", bundle)
    weights = load_file(bundle / "weights.safetensors")
    save_file(
        {name: 1e30 * tensor.float() for name, tensor in weights.items()}, bundle / "weights.safetensors"
    )
    with pytest.raises(SystemExit) as stop:
        predict(exported, tmp_path / "out", "--data.prompt=ska", f"--model.generator.folder={bundle}")
    assert stop.value.code == 2
    assert "NaN or infinite" in capsys.readouterr().err
    assert list((tmp_path / "out").iterdir()) == []


def test_prompts_from_a_file_and_from_standard_input(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prompts.txt").write_text("Blues für Orgel\n\n古い歌\n", encoding="utf-8")
    more = [
        f"--data.file={tmp_path / 'prompts.txt'}",
        "--data.variations=2",
        "--output.format=flac",
        "--data.batch_size=3",
    ]
    predict(exported, tmp_path / "file", *more)
    monkeypatch.setattr("sys.stdin", io.StringIO("reggae\n"))
    predict(exported, tmp_path / "stdin", "--data.file=-")
    lines = [json.loads(line) for line in (tmp_path / "file" / "manifest.jsonl").read_text().splitlines()]
    assert [(line["prompt"], line["variation"]) for line in lines] == [
        ("Blues für Orgel", 0), ("Blues für Orgel", 1), ("古い歌", 0), ("古い歌", 1)
    ]  # fmt: skip
    assert all((tmp_path / "file" / line["file"]).is_file() for line in lines)
    assert [path.name for path in (tmp_path / "stdin").glob("*.wav")] == ["reggae-seed0.wav"]


@pytest.mark.parametrize(("route", "rounding"), [("waveform", 1e-4), ("spectrogram", 1e-3)])
def test_a_clip_does_not_depend_on_the_rest_of_its_batch(exported: Path, route: str, rounding: float) -> None:
    runs = [StageRun(str(exported / name)) for name in (f"{route}_generator", ROUTES[route])]
    cascade = Cascade(*runs, seconds=0.5, progress=False)
    both = cascade.generate(["tango", "hymn"], [0, 1])
    single = cascade.generate(["hymn"], [1])
    # Matrix products round differently for another batch size, and the draft's phases amplify it.
    torch.testing.assert_close(both[1:], single, atol=rounding, rtol=1e-3)


def test_settings_of_the_command_line_reach_the_stages(exported: Path, tmp_path: Path) -> None:
    predict(
        exported,
        tmp_path,
        "--data.prompt=ska",
        "--model.generator.num_steps=7",
        "--model.generator.guidance=1.5",
        "--model.refiner.method=ddim",
        "--model.negative=noise",
    )
    line = json.loads((tmp_path / "manifest.jsonl").read_text())
    generator, refiner, _ = line["stages"]
    assert (generator["num_steps"], generator["guidance"]["scale"], refiner["method"]) == (7, 1.5, "ddim")
    assert line["negative"] == "noise"


def test_an_exported_stage_is_the_averaged_one(runs: Path, exported: Path) -> None:
    of_run, of_export = load_stage(runs / "super_resolution"), load_stage(exported / "super_resolution")
    average = torch.load(runs / "super_resolution" / "checkpoints" / "last.ckpt", weights_only=True)[
        "state_dict"
    ]
    for name, tensor in of_run.network.state_dict().items():
        assert torch.equal(tensor, average[f"network.{name}"])
        torch.testing.assert_close(of_export.network.state_dict()[name], tensor, atol=1e-3, rtol=1e-3)


def test_a_prompt_is_encoded_once_and_guidance_is_one_batch(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, encoded, batches = load_stage(exported / "waveform_generator"), [], []
    assert stage.text is not None and stage.sampling.guidance.scale != 1
    run = stage.text._run_batch
    monkeypatch.setattr(
        stage.text, "_run_batch", lambda texts, device: encoded.append(list(texts)) or run(texts, device)
    )
    stage.network.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    for _ in range(2):
        stage.generate(["a slow waltz"], 1.0, PerSampleGenerator(0, [0]))
    assert encoded == [["a slow waltz"]]
    assert batches == [2] * 2 * stage.sampling.num_steps


def test_long_clips_run_in_windows_without_seams(exported: Path) -> None:
    """A refiner is a local function: in its windows' middle, windowed and whole evaluation nearly agree."""
    stage = load_stage(exported / "super_resolution")
    assert stage.conditioner is not None
    rate = stage.conditioner.rate
    signal = 0.1 * torch.sin(torch.arange(2 * rate) * 440 * 2 * torch.pi / rate)[None, None]
    windowed = stage.generate([""], 2.0, PerSampleGenerator(0, [0]), signal)
    stage.seconds = 2.0
    whole = stage.generate([""], 2.0, PerSampleGenerator(0, [0]), signal)
    assert windowed.shape == whole.shape == (1, 1, 48_000)
    assert (windowed - whole).std() < 0.2 * whole.std()


def test_stages_that_do_not_belong_together_are_refused(exported: Path) -> None:
    folders = {name: StageRun(str(exported / name)) for name in STAGES}
    with pytest.raises(InputError, match=r"model\.generator needs a generator"):
        Cascade(folders["super_resolution"], folders["waveform_cascader"])
    with pytest.raises(InputError, match="after this generator comes a SpectrogramVocoder"):
        Cascade(folders["spectrogram_generator"], folders["waveform_cascader"])
    with pytest.raises(InputError, match="needs a SuperResolution"):
        Cascade(folders["waveform_generator"], folders["waveform_cascader"], folders["waveform_generator"])
