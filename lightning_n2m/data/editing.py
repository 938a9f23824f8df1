"""What to do with a recording: which parts to keep, which to generate, and how long pieces follow a plan."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_n2m.audio.io import Audio
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.data.recording import MAX_SECONDS, read_recording
from lightning_n2m.errors import InputError, check_range

SHORTEST_REGION = 0.1  # seconds of a region that is generated
LONGEST_PIECE = 20.0  # seconds that are generated at once

Span = tuple[float, float]


@dataclass(frozen=True)
class Piece:
    """A part of the music that is generated at once.

    Args:
        start: Its beginning in seconds.
        stop: Its end in seconds.
        prompt: Its own prompt; null for that of the clip.
    """

    start: float
    stop: float
    prompt: str | None = None


@dataclass(frozen=True, eq=False)
class Edit:
    """A plan for a piece of music that is not generated as one clip.

    Args:
        audio: The recording, mono; null for a piece of sections.
        seconds: Length of the result.
        offset: Time in the result at which the recording begins.
        pieces: Parts to generate, in the order in which they are generated; all else is kept.
        strength: How much the generated parts may differ from the recording: 1 keeps nothing of it.
        resampling: See `lightning_n2m.diffusion.known`.
        corrections: See `lightning_n2m.diffusion.known`.
        record: What decides the result besides the prompt, as JSON values for the manifest.
        name: Stem of a file name for a clip without a prompt.
    """

    audio: Audio | None
    seconds: float
    offset: float
    pieces: tuple[Piece, ...]
    strength: float
    resampling: int
    corrections: int
    record: dict[str, Any]
    name: str = ""

    @property
    def keeps_nothing(self) -> bool:
        """Whether the whole recording is varied in one pass."""
        first = self.pieces[0]
        return self.audio is not None and (first.start, first.stop) == (0.0, self.seconds)

    def timeline(self, rate: int) -> tuple[Tensor, Tensor]:
        """The recording in its place, and which samples come from it.

        Args:
            rate: Rate in Hz.

        Returns:
            Samples ``(1, 1, seconds * rate)``, zero where there is no recording, and a mask ``(1, 1, ...)``.
        """
        length = round(self.seconds * rate)
        samples, mask = torch.zeros(1, 1, length), torch.zeros(1, 1, length, dtype=torch.bool)
        if self.audio is not None:
            recording = resample_file(self.audio.samples, self.audio.sample_rate, rate)
            start = round(self.offset * rate)
            recording = recording[:, : length - start]
            samples[..., start : start + recording.shape[-1]] = recording
            mask[..., start : start + recording.shape[-1]] = True
        return samples, mask


def plan(
    audio: str | Path | Audio | None = None,
    extend: float = 0.0,
    regenerate: str | list[Span] = "",
    strength: float | None = None,
    sections: str = "",
    resampling: int = 1,
    corrections: int = 0,
) -> Edit | None:
    """The edit that options describe; null where they describe none. See `plan_edit` and `plan_sections`.

    Raises:
        InputError: if the recording cannot be used, or options contradict each other.
    """
    has_options = bool(extend or regenerate) or strength is not None
    if sections.strip():
        if audio is not None or has_options:
            raise InputError("data.sections is a plan without a recording; leave data.audio out.")
        return plan_sections(sections, resampling, corrections)
    if audio is not None:
        return plan_edit(audio, extend, regenerate, strength, resampling, corrections)
    if has_options:
        raise InputError(
            "data.extend, data.regenerate and data.strength need a recording; give --data.audio FILE."
        )
    return None


def plan_edit(
    audio: str | Path | Audio,
    extend: float = 0.0,
    regenerate: str | list[Span] = "",
    strength: float | None = None,
    resampling: int = 1,
    corrections: int = 0,
) -> Edit:
    """Plan a continuation, a repair or a variation.

    Args:
        audio: The recording: its file, or samples ``(1, t)``.
        extend: Seconds to generate after the recording; before it if negative.
        regenerate: Regions to generate again, in seconds of the recording: ``8:12,20:24`` or pairs.
        strength: How much the regenerated regions may differ from the recording, or all of it where neither
            ``extend`` nor ``regenerate`` is given; 1 by default, which keeps nothing.
        resampling: How often each sampler step is run.
        corrections: Iterations of the correction of each data estimate.

    Raises:
        InputError: if the recording cannot be used, nothing is to be done, or a region is out of range.
    """
    recording = audio if isinstance(audio, Audio) else read_recording(audio)
    length = recording.samples.shape[-1] / recording.sample_rate
    spans = parse_regions(regenerate) if isinstance(regenerate, str) else list(regenerate)
    check_range("data.strength", 1.0 if strength is None else strength, 0.01, 1)
    check_range("data.extend", extend, -MAX_SECONDS, MAX_SECONDS)
    if extend and strength not in (None, 1.0):
        raise InputError("data.strength has no meaning for an extension; use it with regenerate, or alone.")
    if not extend and not spans and strength is None:
        raise InputError(
            "There is nothing to do with the recording; give --data.extend SECONDS, --data.regenerate "
            "FROM:TO, or --data.strength for a variation."
        )
    if 0 < abs(extend) < SHORTEST_REGION:
        raise InputError(f"data.extend is {extend:g}; give at least {SHORTEST_REGION:g} s.")
    seconds, offset = length + abs(extend), max(0.0, -extend)
    if seconds > MAX_SECONDS:
        raise InputError(f"The result would have {seconds:.0f} s; at most {MAX_SECONDS:.0f} s are possible.")
    _check_regions(spans, length)
    pieces = [piece for start, stop in sorted(spans) for piece in cut(offset + start, offset + stop)]
    if extend > 0:
        pieces += cut(length, seconds)
    elif extend < 0:
        # Next to the recording first: each piece continues what is there.
        pieces += cut(0.0, offset)[::-1]
    if not pieces:
        pieces = [Piece(0.0, seconds)]
    data = recording.samples.numpy().tobytes()
    amount = 1.0 if strength is None else strength
    record = {
        "audio": Path(audio).name if not isinstance(audio, Audio) else "samples",
        "audio_sha256": hashlib.sha256(data).hexdigest()[:16],
        "extend": extend,
        "regenerate": [list(span) for span in sorted(spans)],
        "strength": amount,
        "resampling": resampling,
        "corrections": corrections,
    }
    name = Path(audio).stem if not isinstance(audio, Audio) else "edit"
    return Edit(
        recording,
        seconds,
        offset,
        tuple(pieces),
        amount,
        resampling,
        corrections,
        record,
        name,
    )


def plan_sections(text: str, resampling: int = 1, corrections: int = 0) -> Edit:
    """Plan a long piece: ``0:30 calm piano; 30:60 drums enter`` (seconds, then the prompt).

    Raises:
        InputError: if a section is not of this form, or the sections leave a gap or overlap.
    """
    pieces: list[Piece] = []
    sections = []
    end = 0.0
    for part in filter(str.strip, text.split(";")):
        match = re.fullmatch(r"\s*([\d.]+)\s*:\s*([\d.]+)\s+(\S.*?)\s*", part, re.DOTALL)
        if match is None:
            raise InputError(
                f"data.sections: '{part.strip()[:60]}' is not FROM:TO PROMPT; write '0:30 calm piano; 30:60 "
                "drums enter'."
            )
        start, stop = _seconds(match[1]), _seconds(match[2])
        if abs(start - end) > 1e-6:
            raise InputError(
                f"data.sections: a section begins at {start:g} s, but the one before ends at {end:g} s; "
                "begin each where the one before ends, the first at 0."
            )
        _check_regions([(start, stop)], MAX_SECONDS)
        pieces += cut(start, stop, match[3])
        sections.append([start, stop, match[3]])
        end = stop
    if not pieces:
        raise InputError("data.sections is empty; write '0:30 calm piano; 30:60 drums enter'.")
    record = {"sections": sections, "resampling": resampling, "corrections": corrections}
    return Edit(None, end, 0.0, tuple(pieces), 1.0, resampling, corrections, record, "sections")


def parse_regions(text: str) -> list[Span]:
    """``8:12,20:24`` in seconds as pairs.

    Raises:
        InputError: if a region is not of this form.
    """
    spans = []
    for part in filter(str.strip, text.split(",")):
        match = re.fullmatch(r"\s*([\d.]+)\s*:\s*([\d.]+)\s*", part)
        if match is None:
            raise InputError(
                f"data.regenerate: '{part.strip()[:60]}' is not FROM:TO in seconds; write 8:12,20:24."
            )
        spans.append((_seconds(match[1]), _seconds(match[2])))
    return spans


def cut(start: float, stop: float, prompt: str | None = None) -> list[Piece]:
    """Equal pieces of at most `LONGEST_PIECE` that cover a span."""
    count = max(1, -int(-(stop - start - 1e-9) // LONGEST_PIECE))
    edges = [start + (stop - start) * i / count for i in range(count + 1)]
    edges[-1] = stop
    return [Piece(a, b, prompt) for a, b in itertools.pairwise(edges)]


def _check_regions(spans: list[Span], length: float) -> None:
    end = 0.0
    for start, stop in sorted(spans):
        if not 0 <= start < stop <= length + 1e-6:
            raise InputError(
                f"The region {start:g}:{stop:g} is not within 0:{length:.2f} s; give FROM below TO, both "
                "within the recording."
            )
        if stop - start < SHORTEST_REGION:
            raise InputError(
                f"The region {start:g}:{stop:g} is shorter than {SHORTEST_REGION:g} s; extend it."
            )
        if start < end - 1e-6:
            raise InputError(f"The region {start:g}:{stop:g} overlaps the one before; join them.")
        end = stop


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"'{text}' is not a number of seconds; write 8:12 for 8 s to 12 s.") from error
