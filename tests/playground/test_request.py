from __future__ import annotations

import dataclasses
import inspect
import json
import shlex
from pathlib import Path

import pytest

from lightning_n2m.api import TextToMusic
from lightning_n2m.errors import InputError
from lightning_n2m.playground.request import GenerationRequest
from lightning_n2m.playground.settings import PlaygroundSettings

SETTINGS = PlaygroundSettings()
REQUEST = GenerationRequest("a hymn")
SONG = Path("/uploads/my song.wav")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": "a" * 3000}, "at most 2000 characters"),
        ({"prompt": 3}, "prompt is empty"),
        ({"negative": "a" * 3000}, "negative prompt is too long"),
        ({"seconds": 61}, "seconds is 61; give a number from 0.1 to 60"),
        ({"seconds": float("nan")}, "seconds is not a number"),
        ({"seconds": "10"}, "seconds is not a number"),
        ({"seed": 0.5}, "whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"variations": 5}, "variations is 5"),
        ({"steps": 1001}, "steps is 1001"),
        ({"guidance": 101}, "guidance is 101"),
        ({"bpm": 5}, "bpm is 5; give a number from 20 to 400"),
        ({"key": "H major"}, "'H major' cannot be read"),
        ({"prompt": "a hymn, 90 bpm", "bpm": 100.0}, "names 90 bpm"),
        ({"mode": "remix"}, "no mode 'remix'"),
        ({"mode": "vary"}, "'vary' needs a recording"),
        ({"mode": "continue", "recording": SONG, "extend": 0.0}, "extend is 0"),
        ({"mode": "repair", "recording": SONG}, "No region is marked"),
        ({"mode": "vary", "recording": SONG, "strength": 2}, "strength is 2"),
        ({"adapters": ("style",)}, "no adapter 'style'; start the playground with --adapters.style"),
        ({"route": "../x"}, "no route '../x'; give spectrogram or waveform"),
    ],
)
def test_what_the_page_would_refuse_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(REQUEST, **changes).check(SETTINGS)


def test_settings_become_keywords_and_options():
    request = dataclasses.replace(REQUEST, bpm=96.0, key="D minor", steps=7, guidance=3.0)
    request.check(SETTINGS)
    arguments = request.arguments()
    assert (arguments["bpm"], arguments["key"]) == (96.0, "D minor")
    assert arguments["sampling"] == {"generator": {"num_steps": 7, "guidance": 3.0}}
    assert set(arguments) <= set(inspect.signature(TextToMusic.generate).parameters)
    words = shlex.split(request.command(SETTINGS))
    options = {name: words[words.index(name) + 1] for name in words if name.startswith("--model")}
    assert options == {
        "--model.seconds": "10",
        "--model.seed": "0",
        "--model.bpm": "96",
        "--model.key": "D minor",
        "--model.generator.num_steps": "7",
        "--model.generator.guidance": "3",
    }


@pytest.mark.parametrize(
    ("mode", "keyword", "option"),
    [
        ("continue", {"extend": -3.0}, "--data.extend=-3"),
        ("repair", {"regenerate": "8:12,20:24"}, "--data.regenerate=8:12,20:24"),
        ("vary", {"strength": 0.25}, "--data.strength=0.25"),
    ],
)
def test_only_what_belongs_to_the_mode_is_used(mode, keyword, option):
    request = dataclasses.replace(
        REQUEST, mode=mode, recording=SONG, extend=-3.0, regions="8:12,20:24", strength=0.25
    )
    request.check(SETTINGS)
    assert request.editing() == {"audio": SONG, **keyword}
    assert set(request.arguments()) <= set(inspect.signature(TextToMusic.generate).parameters)
    assert shlex.split(request.command(SETTINGS))[-2:] == ["--data.audio=my song.wav", option]
    assert dataclasses.replace(request, mode="new").editing() == {}


def test_adapters_have_folder_and_strength():
    settings = PlaygroundSettings(adapters={"style": "my/style"})
    request = dataclasses.replace(REQUEST, adapters=("style",), adapter_strength=0.5)
    request.check(settings)
    assert request.adapter_runs(settings) == [{"folder": "my/style", "strength": 0.5}]
    words = shlex.split(request.command(settings))
    assert json.loads(words[words.index("--model.generator.adapters") + 1]) == request.adapter_runs(settings)


def test_the_command_keeps_any_prompt_as_one_word():
    prompt = 'it\'s "a" $HOME `x` \\ ; ♫\n--help'
    words = shlex.split(dataclasses.replace(REQUEST, prompt=prompt, negative="-n").command(SETTINGS))
    assert words[words.index("--data.prompt") + 1] == prompt
    assert words[words.index("--model.negative") + 1] == "-n"
    own = PlaygroundSettings(routes={"mine": "runs/mine"})
    assert "runs/mine" in dataclasses.replace(REQUEST, route="mine").command(own)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="max_queue is 0"):
        PlaygroundSettings(max_queue=0)
    with pytest.raises(InputError, match="port is 70000"):
        PlaygroundSettings(port=70_000)
