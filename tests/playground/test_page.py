"""Headless Chromium drives the real page of a real server."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import html5lib
import numpy as np
import pytest
import torch

from lightning_n2m.audio.io import read, write
from lightning_n2m.cli.main import main
from tests.evaluation.common import noise
from tests.web_page import check_looks

pytestmark = pytest.mark.slow


def fill(page: Any, prompt: str, seconds: float = 0.5, variations: int = 1, steps: int = 2) -> None:
    """Fill the form."""
    if not page.is_visible("#steps input"):
        page.click("text=Sampler")
    page.wait_for_function("document.querySelector('#steps input')?.value")  # it is made when it opens
    page.fill("#prompt textarea", prompt)
    page.fill("#seconds input[type=number]", str(seconds))
    page.fill("#variations input[type=number]", str(variations))
    page.fill("#steps input", str(steps))


def generate(page: Any, prompt: str, seconds: float = 0.5, variations: int = 1, steps: int = 2) -> None:
    """Fill the form and start."""
    fill(page, prompt, seconds, variations, steps)
    page.click("#generate")


def sounds(page: Any, folder: Path) -> list[Path]:
    """The sound files of the players of the last stage."""
    paths = []
    for number, player in enumerate(page.query_selector_all(".n2m-clips > li > audio")):
        address = player.evaluate("element => element.src")
        path = folder / f"{number}.wav"
        path.write_bytes(urlopen(address).read())
        paths.append(path)
    return paths


def test_a_prompt_gives_clips_with_players_and_spectrograms(page: Any, tmp_path: Path) -> None:
    prompt = 'techno "fast" <b>& $HOME</b>'
    generate(page, prompt, seconds=1, variations=2)
    page.wait_for_selector("text=Finished: 2 clips.")
    clips = [read(path) for path in sounds(page, tmp_path)]
    assert [(clip.samples.shape, clip.sample_rate) for clip in clips] == 2 * [((1, 24_000), 24_000)]
    assert all(clip.samples.std() > 1e-3 for clip in clips)
    assert not np.array_equal(clips[0].samples, clips[1].samples)
    assert len(page.query_selector_all(".n2m-clips > li > img")) == 2
    page.wait_for_function(
        "[...document.querySelectorAll('.n2m-clips > li > img')].every(image => image.naturalWidth > 50)"
    )
    # Both earlier stages have a player for each variation.
    assert len(page.query_selector_all(".n2m-clips details audio")) == 4
    assert [record["prompt"] for record in records(page)] == [prompt, prompt]
    assert records(page)[0]["stages"][0]["num_steps"] == 2


def upload(page: Any, path: Path, mode: str) -> None:
    """Open the part of the page for recordings, choose what to make, and upload a file."""
    if not page.is_visible("#mode"):
        page.click("text=Continue, repair or vary a recording")
    page.click(f"#mode label:has-text('{mode}')")
    page.set_input_files("#recording input[type=file]", path)


def records(page: Any) -> list[dict[str, Any]]:
    """The lines of the manifest that the page shows."""
    return [json.loads(line) for line in page.input_value("#manifest textarea").splitlines()]


def assert_command_generates_the_same(page: Any, folder: Path) -> None:
    """Run the command that the page shows; its samples and its manifest are those of the page."""
    command = shlex.split(page.input_value("#command textarea"))
    assert command[:3] == ["python", "-m", "lightning_n2m"]
    output = folder / "predicted"
    main([*command[3:], "--output.folder", str(output)])
    lines = (output / "manifest.jsonl").read_text().splitlines()
    shown = records(page)
    assert len(lines) == len(shown)
    for line, record, sound in zip(lines, shown, sounds(page, folder), strict=True):
        own = json.loads(line)
        np.testing.assert_array_equal(read(output / own["file"]).samples, read(sound).samples)
        assert {**own, "file": record["file"]} == record


def test_the_command_generates_what_the_page_generated(page: Any, tmp_path: Path) -> None:
    fill(page, "a hymn", seconds=0.7, variations=2)
    page.fill("#negative textarea", "drums; --help")
    page.fill("#seed input", "7")
    page.fill("#bpm input", "96.5")
    page.fill("#guidance input", "2.5")
    page.click("text=Adapters")
    page.click("#adapters input")
    page.click("[role=option]:has-text('style')")
    page.fill("#adapter_strength input[type=number]", "0.5")
    page.click("#generate")
    page.wait_for_selector("text=Finished: 2 clips.")
    # Its records hold the hash of the weights, which the adapter changes.
    assert '"strength": 0.5}]' in page.input_value("#command textarea")
    assert_command_generates_the_same(page, tmp_path)


@pytest.mark.parametrize(("mode", "frames"), [("Continue", 60_000), ("Vary", 48_000)])
def test_a_recording_is_continued_and_varied(
    page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, frames: int
) -> None:
    path = write(tmp_path / "my song [a].wav", noise(2.0, 3), 16_000)
    upload(page, path, mode)
    page.fill("#extend input", "0.5")
    page.fill("#strength input[type=number]", "0.35")
    generate(page, "techno")
    page.wait_for_selector("text=Finished: 1 clip.")
    (sound,) = sounds(page, tmp_path)
    assert read(sound).samples.shape == (1, frames)
    if mode == "Vary":
        # The page has only the name of the recording: the command runs in its folder.
        monkeypatch.chdir(tmp_path)
        assert_command_generates_the_same(page, tmp_path)


def test_a_run_is_cancelled_and_the_reloaded_page_works(
    page: Any, browser: Any, server: Any, tmp_path: Path
) -> None:
    # A run whose page is closed ends too: otherwise the others would wait for its 1000 steps.
    other = browser.new_page()
    other.goto(server.url)
    generate(other, "a hymn", seconds=5, steps=1000)
    other.wait_for_function("document.querySelector('#stage-1')?.value > 0")
    other.close()
    generate(page, "a hymn", seconds=5, steps=1000)
    page.wait_for_function("document.querySelector('#stage-1')?.value > 0")
    page.click("#cancel")
    page.wait_for_selector("text=Stopped.")
    # The text stays: no late report replaces it.
    page.wait_for_timeout(2000)
    assert page.inner_text("#progress").strip() == "Stopped."
    page.reload()
    page.wait_for_selector("#generate")
    assert page.inner_text("#progress").strip() == "Ready."
    generate(page, "a hymn", seconds=0.5)
    page.wait_for_selector("text=Finished: 1 clip.")
    assert read(sounds(page, tmp_path)[0]).samples.std() > 1e-3


def test_a_marked_region_is_repaired_and_the_rest_is_kept(page: Any, tmp_path: Path) -> None:
    rate = 24_000
    original = 0.3 * torch.sin(2 * math.pi * 220 * torch.arange(4 * rate) / rate)[None]
    upload(page, write(tmp_path / "song.wav", original, rate), "Repair")
    page.wait_for_selector(".n2m-waveform")
    page.locator(".n2m-waveform").scroll_into_view_if_needed()
    box = page.query_selector(".n2m-waveform").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 0.25 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.4 * box["width"], middle)
    page.mouse.move(box["x"] + 0.5 * box["width"], middle)
    page.mouse.up()
    assert page.input_value("#regions textarea") == "1:2"
    assert len(page.query_selector_all(".n2m-regions rect")) == 1
    generate(page, "techno", seconds=2)
    page.wait_for_selector("text=Finished: 1 clip.")
    repaired = read(sounds(page, tmp_path)[0]).samples
    assert repaired.shape == original.shape
    # Kept but for the cross-fade of 20 ms; one step of 16 bits is 3e-5.
    kept = torch.cat([repaired[:, : int(0.975 * rate)], repaired[:, int(2.025 * rate) :]], dim=1)
    expected = torch.cat([original[:, : int(0.975 * rate)], original[:, int(2.025 * rate) :]], dim=1)
    torch.testing.assert_close(kept, expected, atol=5e-5, rtol=0)
    assert (repaired - original)[:, rate : 2 * rate].abs().max() > 0.01
    command = shlex.split(page.input_value("#command textarea"))
    assert command[-2:] == ["--data.audio=song.wav", "--data.regenerate=1:2"]
    # A click on the region removes it; a typed one is drawn.
    page.locator(".n2m-waveform").scroll_into_view_if_needed()
    box = page.query_selector(".n2m-waveform").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.click(box["x"] + 0.4 * box["width"], middle)
    assert page.input_value("#regions textarea") == ""
    page.fill("#regions textarea", "0.5:1,2:2.5")
    assert len(page.query_selector_all(".n2m-regions rect")) == 2


def test_uploads_that_are_too_large_too_long_or_not_audio_are_refused_in_a_line(
    page: Any, tmp_path: Path
) -> None:
    text, long, large = (tmp_path / name for name in ("text.wav", "long.wav", "large.wav"))
    text.write_text("no audio " * 100)
    ten_hours = torch.zeros(1, 36_000 * 400)
    write(long, ten_hours, 400, subtype="PCM_U8")
    with large.open("wb") as file:
        file.truncate(2 * 2**30)
    upload(page, text, "Vary")
    page.wait_for_selector("text=text.wav cannot be decoded by ffmpeg")
    page.click("#recording button[aria-label*=emove], #recording button[aria-label=Clear]")
    upload(page, long, "Vary")
    page.wait_for_selector("text=long.wav is too long; give a recording of at most 10 minutes.")
    page.click("#recording button[aria-label*=emove], #recording button[aria-label=Clear]")
    upload(page, large, "Vary")
    page.wait_for_selector("text=/exceed/")


def test_the_page_is_readable_and_accessible_in_both_schemes_and_widths(page: Any) -> None:
    html5lib.HTMLParser(strict=True).parse(page.content())
    page.click("text=Continue, repair or vary a recording")
    page.click("text=Sampler")
    page.wait_for_selector("#regions textarea")
    check_looks(page)


def test_wrong_input_is_one_line_on_the_page(page: Any) -> None:
    page.fill("#prompt textarea", "  ")
    page.click("#generate")
    page.wait_for_selector("text=The prompt is empty; give a text")
    page.fill("#prompt textarea", "techno")
    page.fill("#bpm input", "5")
    page.click("#generate")
    page.wait_for_selector("text=bpm is 5; give a number from 20 to 400.")
