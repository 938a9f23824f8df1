from __future__ import annotations

import io
import json
import math
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import torch

from lightning_n2m.audio.io import read
from lightning_n2m.playground.results import (
    ResultStore,
    StageState,
    progress_html,
    results_html,
    spectrogram_image,
    store_clips,
    write_manifest,
)


class Tags(HTMLParser):
    """Tags with their attributes, and a check that each is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tone(frequency: float, rate: int = 16_000) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * frequency * torch.arange(rate) / rate)[None]


def test_a_high_tone_is_at_the_top_of_the_spectrogram():
    rows = []
    for frequency in (300, 6000):
        image = matplotlib.image.imread(io.BytesIO(spectrogram_image(tone(frequency), 16_000)))
        rows.append(int(image[..., :3].sum(-1).mean(1).argmax()))
        assert image.shape[0] == 80 and image.shape[1] <= 600
    assert rows[1] < 20 < rows[0]


def test_clips_are_stored_with_the_line_of_the_manifest(tmp_path):
    audio = torch.stack([tone(300), tone(500)])
    clips = store_clips(tmp_path, "a-hymn-seed0", audio, 16_000)
    assert [clip.audio.name for clip in clips] == ["a-hymn-seed0.wav", "a-hymn-seed0-1.wav"]
    np.testing.assert_allclose(read(clips[1].audio).samples, audio[1], atol=1e-4)
    manifest = write_manifest(tmp_path, clips, [{"prompt": "♫", "seed": n} for n in range(2)])
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert lines[1] == {"file": "a-hymn-seed0-1.wav", "sample_rate": 16_000, "prompt": "♫", "seed": 1}


def test_only_the_latest_requests_are_kept(tmp_path):
    store = ResultStore(tmp_path / "results", kept=2)
    folders = [store.new_folder() for _ in range(4)]
    assert [folder.is_dir() for folder in folders] == [False, False, True, True]
    (folders[2] / "a").write_bytes(b"")
    store.new_folder()
    assert not folders[2].exists()


def test_prompts_are_text_and_players_have_names(tmp_path):
    prompt = '<script>alert(1)</script>" onerror="x'
    states = [
        StageState("SpectrogramGenerator"),
        StageState("SpectrogramVocoder"),
        StageState("SuperResolution"),
    ]
    assert results_html(states, prompt) == ""
    for state in states[:2]:
        state.clips = store_clips(tmp_path, f"a'b {state.name}", torch.stack([tone(300), tone(500)]), 16_000)
    tags = Tags(results_html(states, prompt)).found
    names = [tag for tag, _ in tags]
    assert names.count("audio") == 4 and "script" not in names
    players = [attributes for tag, attributes in tags if tag == "audio"]
    assert all(set(player) == {"controls", "preload", "src", "aria-label"} for player in players)
    assert all(player["aria-label"].endswith(prompt) for player in players)
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img")
    downloads = [attributes["download"] for tag, attributes in tags if tag == "a"]
    assert downloads[0] == states[1].clips[0].audio.name


def test_progress_counts_the_steps_of_each_stage():
    states = [StageState("SpectrogramGenerator", 3, 10), StageState("")]
    html = progress_html(states, "Generating <b>.")
    bars = [attributes for tag, attributes in Tags(html).found if tag == "progress"]
    assert [(bar["value"], bar["max"]) for bar in bars] == [("3", "10"), ("0", "1")]
    assert "3 of 10 steps" in html and "Spectrogram generator" in html and "&lt;b&gt;" in html
