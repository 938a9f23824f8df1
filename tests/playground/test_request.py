from __future__ import annotations

import dataclasses
import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lightning_n2m.api import TextToMusic
from lightning_n2m.cli.lightning_cli import run_cli
from lightning_n2m.errors import InputError
from lightning_n2m.playground.request import MODES_OF_EDITING, GenerationRequest
from lightning_n2m.playground.settings import PlaygroundSettings
from tests.paths import ROOT

SETTINGS = PlaygroundSettings()
REQUEST = GenerationRequest("a hymn")
SONG = Path("/uploads/my song.wav")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"prompt": " - "}, "prompt is '-'"),
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


def test_kept_music_uses_the_editor_of_the_model_if_there_is_one(tmp_path):
    editor = tmp_path / "editor"
    settings = PlaygroundSettings(
        routes={"spectrogram": "spectrogram", "own": "my/stages"},
        editors={"spectrogram": str(editor)},
        adapters={"style": "my/style"},
    )
    request = dataclasses.replace(REQUEST, mode="repair", recording=SONG, regions="8:12")
    assert request.generator(settings) == {}
    editor.mkdir()
    assert request.generator(settings) == {"folder": str(editor)}
    words = shlex.split(request.command(settings))
    assert words[words.index("--model.generator.folder") + 1] == str(editor)
    assert dataclasses.replace(request, mode="continue").generator(settings) == {"folder": str(editor)}
    for mode in ("new", "vary"):
        assert dataclasses.replace(request, mode=mode).generator(settings) == {}
    assert dataclasses.replace(request, route="own").generator(settings) == {}
    assert "folder" not in dataclasses.replace(request, adapters=("style",)).generator(settings)


def parsed(command: str) -> dict[str, dict[str, Any]]:
    """Arguments of the model and of the data that `predict` takes from a command."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "lightning_n2m"]
    config = run_cli(words[3:], parse_only=True).config_dump
    return {group: config[group]["init_args"] for group in ("model", "data")}


@pytest.mark.parametrize("prompt", ['it\'s "a" $HOME `x` \\ ; ♫\n--help', "--data.prompt=x", "null"])
def test_predict_reads_each_value_of_the_command_without_loss(prompt):
    request = dataclasses.replace(
        REQUEST,
        prompt=prompt,
        negative="-n",
        seconds=1.2345678912,
        seed=2**62 + 1,
        guidance=1e-05,
        steps=7,
        variations=3,
        route="waveform",
        bpm=123.4567891,
        key="D minor",
        mode="vary",
        recording=Path("/uploads/null: [a] 'b'.wav"),
        strength=0.123456789,
    )
    request.check(SETTINGS)
    values, arguments = parsed(request.command(SETTINGS)), request.arguments()
    model, data = values["model"], values["data"]
    for name in ("seconds", "seed", "negative", "bpm", "key"):
        assert model[name] == arguments[name], name
    generator = {name: model["generator"][name] for name in ("num_steps", "guidance")}
    assert generator == arguments["sampling"]["generator"]
    assert model["generator"]["folder"] == "pretrained/waveform_generator"
    for name in ("variations", "batch_size", "strength"):
        assert data[name] == arguments[name], name
    assert [data["prompt"]] == arguments["prompts"]
    assert data["audio"] == "null: [a] 'b'.wav"


def test_the_command_of_a_folder_of_stages_names_them(tmp_path):
    for name in ("waveform_generator", "waveform_cascader"):
        (tmp_path / name).mkdir()
    recipe = tmp_path / "mine.yaml"
    recipe.write_text((ROOT / "configs" / "cascade" / "waveform.yaml").read_text())
    settings = PlaygroundSettings(routes={"folder": str(tmp_path), "recipe": str(recipe)})
    model = parsed(dataclasses.replace(REQUEST, route="folder").command(settings))["model"]
    assert model["generator"]["folder"] == str(tmp_path / "waveform_generator")
    assert model["refiner"]["folder"] == str(tmp_path / "waveform_cascader")
    assert model["super_resolution"] is None
    model = parsed(dataclasses.replace(REQUEST, route="recipe").command(settings))["model"]
    assert model["generator"]["folder"] == "pretrained/waveform_generator"


def test_each_function_of_the_page_has_its_keyword_and_option():
    """The table of docs/play.md names all of them, and what it names exists."""
    table = (ROOT / "docs" / "play.md").read_text().partition("| on the page |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    request = dataclasses.replace(
        REQUEST, negative="x", guidance=2.0, steps=5, bpm=90.0, key="D minor", adapters=("a",), recording=SONG
    )
    settings = PlaygroundSettings(adapters={"a": "a"})
    modes = [dataclasses.replace(request, mode=mode, regions="1:2") for mode in MODES_OF_EDITING]
    keywords = set().union(*(each.arguments() for each in modes)) - {"batch_size"}
    words = [word for each in modes for word in shlex.split(each.command(settings))]
    options = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--data.batch_size"}
    in_python = set(re.findall(r"[a-z_]+", " ".join(row[1] for row in rows)))
    assert keywords <= in_python
    assert {"generator", "num_steps", "guidance", "adapters", "folder", "strength"} <= in_python
    assert options == set(re.findall(r"--[a-z_.]+", " ".join(row[2] for row in rows)))
    assert keywords <= set(inspect.signature(TextToMusic.generate).parameters)
    # Every argument of the API belongs to one row.
    labels = " ".join(row[0] for row in rows).lower()
    names = {"bpm": "tempo", "mode": "continue", "extend": "continue", "regions": "repair"}
    for field in dataclasses.fields(GenerationRequest):
        assert names.get(field.name, field.name.partition("_")[0]) in labels, field.name


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="max_queue is 0"):
        PlaygroundSettings(max_queue=0)
    with pytest.raises(InputError, match="port is 70000"):
        PlaygroundSettings(port=70_000)
