from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import lightning_n2m
from lightning_n2m import from_pretrained
from lightning_n2m.api import GeneratedAudio, TextToMusic
from lightning_n2m.audio.io import read
from lightning_n2m.cascade import Cascade
from lightning_n2m.errors import InputError
from lightning_n2m.stages.result import StageProgress
from lightning_n2m.stages.stage_run import StageRun
from tests.paths import ROOT
from tests.stages.common import without_numbers

NAMES = ("spectrogram_generator", "spectrogram_vocoder")
STEPS = {"num_steps": 3}
FEW_STEPS = {"generator": STEPS, "refiner": STEPS, "super_resolution": None}


@pytest.fixture(scope="module")
def model() -> TextToMusic:
    return from_pretrained("spectrogram", device="cpu", **FEW_STEPS)


def test_importing_the_package_is_cheap() -> None:
    script = (
        "import time, sys; began = time.process_time(); import lightning_n2m\n"
        "assert time.process_time() - began < 0.3\n"
        "assert 'torch' not in sys.modules and 'from_pretrained' in lightning_n2m.__all__"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lightning_n2m.nothing


def test_one_prompt_gives_one_clip_as_the_cascade_generates_it(
    model: TextToMusic, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = model.generate("a slow waltz", seconds=0.5, seed=3, negative="drums")
    assert (clip.samples.dtype, clip.samples.shape, clip.sample_rate) == (np.float32, (1, 8000), 16_000)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")
    runs = [StageRun(f"pretrained/{name}", **STEPS) for name in NAMES]
    cascade = Cascade(*runs, seconds=0.5, seed=3, negative="drums", progress=False)
    expected = cascade.generate(["a slow waltz"], [0])
    np.testing.assert_array_equal(clip.samples, expected[0].numpy())


def test_batches_and_variations_come_in_order(model: TextToMusic) -> None:
    clips = model.generate(["techno", "a hymn"], seconds=0.3, variations=2, batch_size=1)
    assert clips.samples.shape == (4, 1, 4800)
    hymn = model.generate("a hymn", seconds=0.3)
    np.testing.assert_array_equal(clips.samples[2], hymn.samples)
    assert len({clip.tobytes() for clip in clips.samples}) == 4
    assert model.generate("a hymn", seconds=0.3, variations=2).samples.shape == (2, 1, 4800)
    assert model.generate(["a hymn"], seconds=0.3).samples.shape == (1, 1, 4800)


def test_settings_of_one_call_are_those_of_loading_and_do_not_stay(model: TextToMusic) -> None:
    settings = {"generator": {"num_steps": 2, "guidance": 2.0}, "refiner": {"num_steps": 1}}
    before = model.generate("techno", seconds=0.3)
    changed = model.generate("techno", seconds=0.3, sampling=settings)
    loaded = from_pretrained("spectrogram", device="cpu", super_resolution=None, **settings)
    np.testing.assert_array_equal(changed.samples, loaded.generate("techno", seconds=0.3).samples)
    np.testing.assert_array_equal(before.samples, model.generate("techno", seconds=0.3).samples)
    stage = changed.records[0]["stages"][0]
    assert (stage["num_steps"], stage["guidance"]["scale"]) == (2, 2.0)
    assert before.records[0]["stages"][0]["num_steps"] == STEPS["num_steps"]
    for wrong in ({"vocoder": {}}, {"generator": {"steps": 3}}, {"generator": {"num_steps": 0}}):
        with pytest.raises(InputError, match=r"vocoder|steps"):
            model.generate("techno", seconds=0.3, sampling=wrong)


def test_each_step_and_each_stage_are_observed(model: TextToMusic) -> None:
    events: list[StageProgress] = []
    clip = model.generate("techno", seconds=0.3, observe=events.append)
    steps = [(event.name, event.done, event.total) for event in events if event.output is None]
    stages = ("SpectrogramGenerator", "SpectrogramVocoder")
    assert steps == [(name, done, 3) for name in stages for done in (1, 2, 3)]
    mel, audio = [event for event in events if event.output is not None]
    assert mel.audio().shape == (1, 1, 4800) and mel.sample_rate == 16_000
    np.testing.assert_array_equal(audio.audio()[0], clip.samples)

    def cancel(event: StageProgress) -> None:
        if event.number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate("techno", seconds=0.3, observe=cancel)
    np.testing.assert_array_equal(model.generate("techno", seconds=0.3).samples, clip.samples)


def test_tempo_and_key_become_words_for_a_generator_without_inputs_for_them(tmp_path: Path) -> None:
    folder = without_numbers(ROOT / "pretrained" / NAMES[0], tmp_path / "generator")
    settings = FEW_STEPS | {"generator": {"folder": str(folder), **STEPS}}
    model = from_pretrained("spectrogram", device="cpu", **settings)
    clip = model.generate("a slow waltz", seconds=0.3, bpm=90, key="Dm")
    words = model.generate("a slow waltz, 90 bpm, D minor", seconds=0.3)
    np.testing.assert_array_equal(clip.samples, words.samples)
    # The next call has none.
    plain = model.generate("a slow waltz", seconds=0.3)
    assert not np.array_equal(plain.samples, words.samples)
    with pytest.raises(InputError, match="names 90 bpm"):
        model.generate("a waltz at 90 bpm", seconds=0.3, bpm=120)
    with pytest.raises(InputError, match="key"):
        model.generate("a waltz", seconds=0.3, key="H moll")


def test_tempo_and_key_are_inputs_of_the_generator_that_comes_with_the_project(model: TextToMusic) -> None:
    clips = [
        model.generate("a slow waltz", seconds=0.3, bpm=bpm, key=key).samples
        for bpm, key in ((None, None), (90, None), (150, None), (90, "Dm"), (90, "Bb major"))
    ]
    assert len({clip.tobytes() for clip in clips}) == len(clips)
    words = model.generate("a slow waltz, 90 bpm", seconds=0.3).samples
    assert not np.array_equal(clips[1], words)


def test_clips_are_saved(tmp_path: Path) -> None:
    samples = np.stack([np.full((1, 240), value, np.float32) for value in (0.25, -0.5)])
    assert GeneratedAudio(samples[0], 24_000).save(tmp_path / "a.wav") == [tmp_path / "a.wav"]
    assert GeneratedAudio(samples, 24_000).save(str(tmp_path / "b.flac")) == [
        tmp_path / "b-1.flac",
        tmp_path / "b-2.flac",
    ]
    audio = read(tmp_path / "b-2.flac")
    assert audio.sample_rate == 24_000 and audio.samples.mean() == pytest.approx(-0.5, abs=1e-3)
    with pytest.raises(InputError, match="does not exist"):
        GeneratedAudio(samples, 24_000).save(tmp_path / "no" / "c.wav")
    with pytest.raises(InputError, match=r"\.wav or \.flac"):
        GeneratedAudio(samples, 24_000).save(tmp_path / "c.txt")


def test_a_folder_of_stages_and_a_config_are_models(tmp_path: Path, model: TextToMusic) -> None:
    for name in NAMES:
        (tmp_path / name).symlink_to(ROOT / "pretrained" / name)
    by_folder = from_pretrained(tmp_path, device="cpu", generator=STEPS, refiner=STEPS)
    assert by_folder.sample_rate == 16_000
    folders = {"generator": {"folder": str(tmp_path / "spectrogram_generator"), "total": 3}}
    folders["refiner"] = {"folder": str(tmp_path / "spectrogram_vocoder"), "total": 3}
    config = {"model": {"class_path": "lightning_n2m.cascade.Cascade", "init_args": folders}}
    (tmp_path / "old.yaml").write_text(yaml.safe_dump(config))
    by_config = from_pretrained(tmp_path / "old.yaml", device="cpu")
    expected = model.generate("polka", seconds=0.3).samples
    for loaded in (by_folder, by_config):
        np.testing.assert_array_equal(loaded.generate("polka", seconds=0.3).samples, expected)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("jazz", {}, "There is no model 'jazz'; give spectrogram or waveform"),
        ("configs/starter/super_resolution.yaml", {}, "describes no cascade"),
        ("tests", {}, "tests holds no stages"),
        ("spectrogram", {"device": "cuda:99"}, "cuda:99 is not available"),
        ("spectrogram", {"device": "toaster"}, "toaster is not available"),
        ("spectrogram", {"colour": 3}, "colour"),
        ("spectrogram", {"generator": {"num_steps": 0}}, "num_steps is 0"),
        ("spectrogram", {"generator": {"folder": "runs/nothing"}}, "runs/nothing does not exist"),
        ("spectrogram", {"seconds": 1e9}, "seconds is 1e"),
    ],
)
def test_a_wrong_model_or_setting_is_refused_in_one_line(
    name: str, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        from_pretrained(name, **{"device": "cpu", **settings})  # type: ignore[arg-type]
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("prompts", "settings", "message"),
    [
        ("", {}, "prompt is empty"),
        ([], {}, "prompt is empty"),
        (["a", " "], {}, "prompt is empty"),
        ("a", {"seconds": 0}, "seconds is 0"),
        ("a", {"seconds": float("nan")}, "seconds is nan"),
        ("a", {"variations": 0}, "variations is 0"),
    ],
)
def test_wrong_arguments_of_generate_are_refused(
    model: TextToMusic, prompts: str | list[str], settings: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        model.generate(prompts, **settings)  # type: ignore[arg-type]


def test_generation_leaves_gradients_and_training_alone(model: TextToMusic) -> None:
    assert not any(parameter.requires_grad for parameter in model.cascade.parameters())
    assert torch.is_grad_enabled()


def test_a_variation_at_strength_1_is_plain_generation_to_the_bit(model: TextToMusic) -> None:
    plain = model.generate("a slow waltz", seconds=1.0, seed=3)
    noise = 0.1 * np.random.default_rng(0).standard_normal((1, 16_000)).astype(np.float32)
    recording = GeneratedAudio(noise, 16_000)
    varied = model.generate("a slow waltz", audio=recording, strength=1.0, seed=3)
    np.testing.assert_array_equal(varied.samples, plain.samples)
    weaker = model.generate("a slow waltz", audio=recording, strength=0.2, seed=3)
    assert weaker.samples.shape == plain.samples.shape
    assert not np.array_equal(weaker.samples, plain.samples)
    # The edit holds for one call.
    again = model.generate("a slow waltz", seconds=1.0, seed=3)
    np.testing.assert_array_equal(again.samples, plain.samples)


def test_a_continuation_keeps_the_recording_and_needs_no_prompt(model: TextToMusic, tmp_path: Path) -> None:
    recording = model.generate("a slow waltz", seconds=1.0)
    path = recording.save(tmp_path / "a.wav")[0]
    longer = model.generate(audio=path, extend=0.5)
    assert longer.samples.shape == (1, 24_000)
    kept = 16_000 - 320  # without the cross-fade of 20 ms
    np.testing.assert_array_equal(longer.samples[:, :kept], read(path).samples[:, :kept].numpy())
    assert np.abs(longer.samples[:, 16_000:]).max() > 0
    assert longer.records[0]["edit"]["extend"] == 0.5
    corrected = model.generate("a slow waltz", audio=path, extend=0.5, corrections=1)
    assert np.isfinite(corrected.samples).all() and not np.array_equal(corrected.samples, longer.samples)
    with pytest.raises(InputError, match="several clips"):
        model.generate(audio=GeneratedAudio(np.zeros((2, 1, 16_000), np.float32), 16_000), extend=1)
