"""Files of generated clips, and the HTML that shows them and the progress of the stages."""

from __future__ import annotations

import io
import json
import re
import secrets
import shutil
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from lightning_n2m.audio.io import encode
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.html_page import escape
from lightning_n2m.stages.result import StageProgress

FILE_ROUTE = "gradio_api/file="  # where the server offers files of allowed folders
_COLUMNS = 600  # of a spectrogram image


@dataclass(frozen=True)
class StoredClip:
    """A sound file with its spectrogram image."""

    audio: Path
    spectrogram: Path
    seconds: float
    sample_rate: int


@dataclass
class StageState:
    """Progress of one stage, and its clips once they are complete."""

    name: str
    done: int = 0
    total: int = 0
    clips: list[StoredClip] = field(default_factory=list)


class ResultStore:
    """Folders of the latest requests below one folder; older ones are deleted.

    Args:
        folder: The folder.
        kept: Number of requests that are kept.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self.kept = folder, kept
        self._folders: list[Path] = []
        self._lock = threading.Lock()

    def new_folder(self) -> Path:
        """An empty folder for a request."""
        folder = self.folder / secrets.token_hex(8)
        folder.mkdir(parents=True)
        with self._lock:
            self._folders.append(folder)
            expired = self._folders[: -self.kept]
            self._folders = self._folders[-self.kept :]
        for old in expired:
            shutil.rmtree(old, ignore_errors=True)
        return folder


def store_clips(folder: Path, name: str, audio: Tensor, sample_rate: int) -> list[StoredClip]:
    """Write clips ``(b, 1, t)`` and their spectrograms; several clips get a number."""
    clips = []
    for number, samples in enumerate(audio.float().cpu()):
        path = folder / (f"{name}-{number}.wav" if number else f"{name}.wav")
        path.write_bytes(encode(samples, sample_rate, "WAV"))
        image = path.with_suffix(".png")
        image.write_bytes(spectrogram_image(samples, sample_rate))
        clips.append(StoredClip(path, image, samples.shape[-1] / sample_rate, sample_rate))
    return clips


def write_manifest(folder: Path, clips: Sequence[StoredClip], records: Sequence[Mapping[str, Any]]) -> Path:
    """Write the lines that `predict` writes to its manifest."""
    lines = [
        json.dumps({"file": clip.audio.name, "sample_rate": clip.sample_rate, **record}, ensure_ascii=False)
        for clip, record in zip(clips, records, strict=True)
    ]
    path = folder / "manifest.jsonl"
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def file_name(prompt: str, seed: int) -> str:
    """Stem of a file name for a prompt."""
    words = re.sub(r"\W+", "-", prompt.lower()).strip("-")[:60]
    return f"{words.encode()[:150].decode(errors='ignore') or 'prompt'}-seed{seed}"


def spectrogram_image(samples: Tensor, sample_rate: int) -> bytes:
    """PNG of the log-mel of a clip ``(1, t)``: low frequencies at the bottom."""
    from matplotlib.image import imsave

    settings = MelSettings(sample_rate=sample_rate, hop=max(1, sample_rate // 100), f_max=sample_rate / 2)
    mel = log_mel(samples[None], settings)
    mel = torch.nn.functional.adaptive_avg_pool1d(mel, min(mel.shape[-1], _COLUMNS))[0]
    stream = io.BytesIO()
    imsave(stream, mel.numpy(), cmap="magma", vmin=-1, vmax=1, origin="lower", format="png")
    return stream.getvalue()


def update(states: list[StageState], report: StageProgress) -> None:
    """Take over what a stage reports, except its output."""
    if not states:
        states.extend(StageState("") for _ in range(report.stages))
    state = states[report.number]
    state.name = report.name
    if report.output is None:
        state.done, state.total = report.done, report.total


def progress_html(states: Sequence[StageState], message: str) -> str:
    """Progress of each stage, and a message that screen readers announce."""
    rows = []
    for number, state in enumerate(states, start=1):
        label = _words(state.name) if state.name else f"Stage {number}"
        text = f"{state.done} of {state.total} steps" if state.total else "waiting"
        rows.append(
            f'<li><label for="stage-{number}">{escape(label)}</label>'
            f'<progress id="stage-{number}" max="{state.total or 1}" value="{state.done}"></progress>'
            f"<span>{text}</span></li>"
        )
    steps = f'<ol class="n2m-stages">{"".join(rows)}</ol>' if rows else ""
    return f'<p role="status" class="n2m-status">{escape(message)}</p>{steps}'


def results_html(states: Sequence[StageState], prompt: str) -> str:
    """Clips of the last complete stage side by side, and those of earlier stages below each."""
    complete = [state for state in states if state.clips]
    if not complete:
        return ""
    *earlier, last = complete
    cards = []
    for number, clip in enumerate(last.clips):
        title = f"Variation {number + 1}" if len(last.clips) > 1 else "Clip"
        before = "".join(
            f"<li>{_clip_html(state.clips[number], _stage_title(state), prompt)}</li>" for state in earlier
        )
        stages = f"<details><summary>Earlier stages</summary><ul>{before}</ul></details>" if before else ""
        is_final = last is states[-1]
        heading = title if is_final else f"{title}, {_stage_title(last)}"
        cards.append(f"<li>{_clip_html(clip, heading, prompt)}{stages}</li>")
    return f'<ul class="n2m-clips">{"".join(cards)}</ul>'


def file_url(path: Path) -> str:
    """URL of a file, relative to the page."""
    return escape(FILE_ROUTE + quote(str(path)))


def _clip_html(clip: StoredClip, heading: str, prompt: str) -> str:
    label = escape(f"{heading}: {prompt}")
    return (
        f"<h2>{escape(heading)}</h2>"
        f'<audio controls preload="metadata" src="{file_url(clip.audio)}" aria-label="{label}"></audio>'
        f'<img src="{file_url(clip.spectrogram)}" alt="{escape(f"Spectrogram of {heading}")}">'
        f'<p>{clip.seconds:g} s, {clip.sample_rate / 1000:g} kHz, <a href="{file_url(clip.audio)}" '
        f'download="{escape(clip.audio.name)}">download {escape(clip.audio.name)}</a></p>'
    )


def _stage_title(state: StageState) -> str:
    rate = state.clips[0].sample_rate / 1000
    how = "log-mel by Griffin-Lim, " if state.name == "SpectrogramGenerator" else ""
    return f"{_words(state.name)} ({how}{rate:g} kHz)"


def _words(name: str) -> str:
    """``SpectrogramVocoder`` as ``Spectrogram vocoder``."""
    return re.sub(r"(?<!^)(?=[A-Z])", " ", name).capitalize()
