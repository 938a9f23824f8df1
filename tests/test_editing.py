"""Windows, known parts and cross-fades of an edit, with stages whose output is known."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_n2m import editing
from lightning_n2m.audio.io import Audio
from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.data.editing import Edit, plan_edit, plan_sections
from lightning_n2m.diffusion.known import Known
from lightning_n2m.editing import CONTEXT, FADE, REFINER_CONTEXT, Run, edit_music, whole_recording
from lightning_n2m.errors import InputError

RATE, VALUE = 24_000, 0.5
MEL = MelSettings()


class FakeStage:
    """A stage that returns what it knows, and a constant elsewhere."""

    device = torch.device("cpu")
    network = SimpleNamespace(number_names=())

    def __init__(self, sample_rate: int, mel: MelSettings | None = None) -> None:
        self.sample_rate, self.mel = sample_rate, mel
        self.output_rate = sample_rate if mel is None else sample_rate / mel.hop
        self.calls: list[dict[str, Any]] = []

    def target(self, audio: Tensor) -> Tensor:
        return audio if self.mel is None else log_mel(audio, self.mel)

    def to_x0(self, target: Tensor) -> Tensor:
        return target

    def generate(
        self,
        captions: Sequence[str],
        seconds: float,
        rng: Any,
        signal: Tensor | None,
        negative: str,
        report: Any,
        numbers: Any,
        known: Known,
    ) -> Tensor:
        length = round(seconds * self.output_rate)
        assert known.x0.shape[-1] == known.mask.shape[-1] == length
        if signal is not None:
            assert signal.shape[-1] / self.previous_rate == pytest.approx(seconds)
        self.calls.append(
            {
                "prompts": list(captions),
                "seconds": seconds,
                "known": known,
                "signal": signal,
                "numbers": numbers,
            }
        )
        return torch.where(known.mask, known.x0, VALUE)


def stages(generator_mel: bool = False) -> list[FakeStage]:
    row = [FakeStage(16_000, MEL) if generator_mel else FakeStage(3200), FakeStage(16_000), FakeStage(RATE)]
    for before, after in itertools.pairwise(row):
        after.previous_rate = before.output_rate  # type: ignore[attr-defined]
    return row


def music(seconds: float, rate: int = RATE) -> Audio:
    generator = torch.Generator().manual_seed(0)
    return Audio(0.1 * torch.randn(1, round(seconds * rate), generator=generator), rate)


def render(edit: Edit, row: list[FakeStage], clips: int = 1) -> Tensor:
    run = Run(row, ["prompt"] * clips, list(range(clips)), 0, "")  # type: ignore[arg-type]
    return edit_music(edit, run)


FADE_SAMPLES = round(FADE * RATE)


@pytest.mark.parametrize("generator_mel", [False, True], ids=["waveform", "spectrogram"])
def test_a_repair_keeps_every_sample_outside_of_the_cross_fade(generator_mel: bool) -> None:
    recording = music(5.0033)  # not a whole number of windows' steps
    edit = plan_edit(recording, regenerate="1.2345:2.5,3:3.4")
    result = render(edit, stages(generator_mel), clips=2)
    assert result.shape == (2, 1, recording.samples.shape[-1])
    changed = torch.zeros(recording.samples.shape[-1], dtype=torch.bool)
    for start, stop in ((1.2345, 2.5), (3.0, 3.4)):
        a, b = round(start * RATE), round(stop * RATE)
        changed[a - FADE_SAMPLES : b + FADE_SAMPLES] = True
        assert (result[..., a:b] == VALUE).all()
    assert torch.equal(result[0, 0, ~changed], recording.samples[0, ~changed])
    assert torch.equal(result[1], result[0])


@pytest.mark.parametrize(("extend", "kept"), [(2.5, (0, 3)), (-2.5, (2.5, 5.5))])
def test_an_extension_keeps_the_recording_and_adds_music(extend: float, kept: tuple[float, float]) -> None:
    recording = music(3.0)
    result = render(plan_edit(recording, extend=extend), stages())
    assert result.shape[-1] == round(5.5 * RATE)
    a, b = round(kept[0] * RATE), round(kept[1] * RATE)
    inner = slice(a + FADE_SAMPLES, b) if a else slice(a, b - FADE_SAMPLES)
    offset = inner.start - a
    assert torch.equal(result[0, 0, inner], recording.samples[0, offset : offset + inner.stop - inner.start])
    made = result[0, 0, b:] if extend > 0 else result[0, 0, :a]
    assert (made == VALUE).all()


def test_the_result_at_another_rate_holds_the_resampled_recording() -> None:
    low = music(2.0, 8000)
    edit = plan_edit(low, extend=1.0)
    timeline, mask = edit.timeline(RATE)
    assert timeline.shape == mask.shape == (1, 1, 3 * RATE)
    assert mask[..., : 2 * RATE].all() and not mask[..., 2 * RATE :].any()
    kept = slice(0, 2 * RATE - FADE_SAMPLES)
    assert torch.equal(render(edit, stages())[0, 0, kept], timeline[0, 0, kept])


@pytest.mark.parametrize("generator_mel", [False, True], ids=["waveform", "spectrogram"])
def test_nothing_of_the_unknown_part_enters_what_is_known(generator_mel: bool) -> None:
    """The region holds NaN, which every filter and window that reaches into it would spread."""
    recording = music(4.0)
    recording.samples[:, round(1.5 * RATE) : round(2.1 * RATE)] = torch.nan
    row = stages(generator_mel)
    result = render(plan_edit(recording, regenerate="1.5:2.1"), row)
    assert torch.isfinite(result).all()
    for stage in row:
        (call,) = stage.calls
        known = call["known"]
        values = known.x0.transpose(1, 2)[known.mask[0]]
        assert torch.isfinite(values).all()
        # And not much less is known: within 0.1 s of the region.
        assert known.mask.sum() > (call["seconds"] - 0.6 - 0.2) * stage.output_rate


def test_stages_run_only_around_the_change() -> None:
    row = stages()
    render(plan_edit(music(60.0), regenerate="30:31"), row)
    (generator,), (refiner,), (upsampler,) = (stage.calls for stage in row)
    assert generator["seconds"] == pytest.approx(1 + 2 * CONTEXT, abs=0.03)
    assert refiner["seconds"] == upsampler["seconds"] == pytest.approx(1 + 2 * REFINER_CONTEXT, abs=0.03)


def test_the_generator_knows_a_finished_piece_as_it_made_it() -> None:
    row = stages()
    render(plan_sections("0:15 calm piano; 15:30 drums enter"), row)
    first, second = row[0].calls
    assert (first["prompts"], second["prompts"]) == (["calm piano"], ["drums enter"])
    assert not first["known"].mask.any()
    assert second["seconds"] == 15 + CONTEXT
    context = round(CONTEXT * 3200)
    known = second["known"]
    assert (known.x0[..., : context - 1] == VALUE).all()
    assert known.mask[..., 200 : context - 200].all() and not known.mask[..., context:].any()


def test_a_long_piece_is_made_in_bounded_windows() -> None:
    row = stages()
    result = render(plan_sections("0:70 calm piano; 70:90 drums"), row)
    assert result.shape[-1] == 90 * RATE and (result == VALUE).float().mean() > 0.99
    assert [call["prompts"][0] for call in row[0].calls] == ["calm piano"] * 4 + ["drums"]
    assert max(call["seconds"] for call in row[0].calls) <= 20 + CONTEXT


def test_music_before_a_recording_is_made_backwards() -> None:
    row = stages()
    render(plan_edit(music(2.0), extend=-30.0), row)
    # Next to the recording first; a window never contains music that is still to be made.
    assert [round(call["seconds"], 2) for call in row[0].calls] == [17.0, 25.0]
    assert row[0].calls[0]["known"].mask[..., -2 * 3200 + 200 :].all()


def test_a_variation_starts_from_the_recording_and_knows_nothing() -> None:
    edit = plan_edit(music(1.0), strength=0.3)
    assert edit.keeps_nothing
    known = whole_recording(edit, FakeStage(3200), 1.0, 2)  # type: ignore[arg-type]
    assert known.x0.shape == (2, 1, 3200) and not known.mask.any() and known.strength == 0.3
    assert not plan_edit(music(1.0), regenerate="0:0.5", strength=0.3).keeps_nothing


def test_a_rate_off_the_grid_is_refused() -> None:
    row = stages()
    row[0].output_rate = 86.5
    with pytest.raises(InputError, match="multiple of 100"):
        render(plan_edit(music(1.0), extend=1.0), row)


def clicks(tempo: float, seconds: float, first: float) -> Audio:
    """A recording with a click on each beat, from the time ``first`` on."""
    samples = 1e-4 * music(seconds).samples
    burst = music(0.02).samples
    for beat in range(int((seconds - first - 0.05) * tempo / 60) + 1):
        start = round((first + beat * 60 / tempo) * RATE)
        samples[:, start : start + burst.shape[-1]] += burst
    return Audio(samples, RATE)


def numbers_of(
    edit: Edit, prompt: str = "prompt", names: Sequence[str] = ("tempo", "beat_phase")
) -> list[Any]:
    """Tempo, key and beats that the generator gets for each piece."""
    row = stages()
    row[0].network = SimpleNamespace(number_names=names)  # type: ignore[misc]
    edit_music(edit, Run(row, [prompt], [0], 0, ""))  # type: ignore[arg-type]
    return [call["numbers"][0] for call in row[0].calls]


@pytest.mark.parametrize("tempo", [83.0, 120.0])
def test_a_continuation_has_the_beats_of_the_recording(tempo: float) -> None:
    # The window of the generator begins `CONTEXT` seconds before the end of the recording.
    seconds, first = CONTEXT + 2.37, 0.41
    (numbers,) = numbers_of(plan_edit(clicks(tempo, seconds, first), extend=3.0))
    assert numbers.tempo == pytest.approx(tempo, rel=0.004)
    start = seconds - CONTEXT
    time_of_next_beat = (-numbers.beat % 1) * 60 / numbers.tempo
    error = ((start + time_of_next_beat - first) * tempo / 60 + 0.5) % 1 - 0.5
    assert abs(error) * 60 / tempo < 0.02


def test_a_tempo_that_the_prompt_names_is_found_exactly_or_kept_without_beats() -> None:
    edit = plan_edit(clicks(100.0, 6.0, 0.2), extend=2.0)
    (numbers,) = numbers_of(edit, "a waltz at 101 bpm")
    assert numbers.tempo == pytest.approx(100, rel=0.004) and numbers.beat is not None
    (numbers,) = numbers_of(edit, "a waltz at 133 bpm in D minor")
    assert (numbers.tempo, numbers.beat, numbers.key) == (133.0, None, ("D", "minor"))


def test_a_piece_without_known_music_begins_on_a_beat_if_it_begins_the_music() -> None:
    numbers = numbers_of(plan_sections("0:3 a waltz at 90 bpm; 3:6 drums"))
    assert (numbers[0].tempo, numbers[0].beat) == (90.0, 0.0)
    # The fake generator's constant has no beats.
    assert (numbers[1].tempo, numbers[1].beat) == (None, None)


def test_a_continuation_has_the_key_of_the_recording_unless_another_is_named() -> None:
    time = torch.arange(6 * RATE) / RATE
    # The chords of D major: D, G and A, as sines.
    chords = [(62, 66, 69), (67, 71, 74), (69, 73, 76)]
    waves = [
        sum(torch.sin(2 * torch.pi * 440 * 2 ** ((p - 69) / 12) * time) for p in chord) for chord in chords
    ]
    samples = 0.05 * torch.cat([wave[: 2 * RATE] for wave in waves])[None]  # type: ignore[index]
    edit, names = plan_edit(Audio(samples, RATE), extend=2.0), ("tonic", "mode")
    assert numbers_of(edit, names=names)[0].key == ("D", "major")
    assert numbers_of(edit, "a hymn in E minor", names)[0].key == ("E", "minor")
    quiet_noise = plan_edit(music(6.0), extend=2.0)
    assert numbers_of(quiet_noise, names=names)[0].key is None


def test_kept_music_is_not_analysed_for_a_generator_without_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("analysed")

    monkeypatch.setattr(editing, "estimate_beats", refuse)
    monkeypatch.setattr(editing, "estimate_key", refuse)
    numbers_of(plan_edit(clicks(100.0, 6.0, 0.2), extend=2.0), names=())
