from __future__ import annotations

import pytest

from lightning_n2m.cli.lightning_cli import run_cli

PROMPTS = [
    "Jazz: slow piano", "[rock, jazz]", "- a dash first", "{a: 1}", "null", "~", "80s: synth pop", "0x10",
    'a "b" \\ c', "Genre: Pop\nMood: Romantic", "a 😀\x85\x7f\t end ", "piano, " * 1000, "*a &b !c # d", "",
    "lightning_n2m.data.prompts.Prompts",
]  # fmt: skip


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("form", ["one", "two", "init_args"])
def test_prompts_are_free_text(prompt: str, form: str) -> None:
    """Through the whole parser, with the option before the config."""
    given = {
        "one": [f"--data.prompt={prompt}", f"--model.negative={prompt}"],
        "two": ["--data.prompt", prompt, "--model.negative", prompt],
        "init_args": [f"--data.init_args.prompt={prompt}", "--model.init_args.negative", prompt],
    }[form]
    config = run_cli(
        ["predict", *given, "-c", "cascade/waveform.yaml", "--data.variations=2"], parse_only=True
    ).config_dump
    data, model = config["data"]["init_args"], config["model"]["init_args"]
    assert (data["prompt"], data["variations"], model["negative"]) == (prompt, 2, prompt)
    assert model["generator"]["folder"] == "pretrained/waveform_generator"
