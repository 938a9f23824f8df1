from __future__ import annotations

import pytest
import torch

from lightning_n2m.audio.io import Audio
from lightning_n2m.data.editing import LONGEST_PIECE, Edit, cut, parse_regions, plan, plan_edit, plan_sections
from lightning_n2m.errors import InputError

RECORDING = Audio(0.1 * torch.ones(1, 80_000), 8000)  # 10 s


def spans(edit: Edit) -> list[tuple[float, float]]:
    return [(piece.start, piece.stop) for piece in edit.pieces]


def test_regions_are_read_in_seconds() -> None:
    assert parse_regions("8:12, 20.5:24") == [(8.0, 12.0), (20.5, 24.0)]
    for text in ("8-12", "8:12:14", "a:b", "1..2:3"):
        with pytest.raises(InputError, match="8:12"):
            parse_regions(text)


def test_what_is_not_regenerated_is_kept() -> None:
    edit = plan_edit(RECORDING, regenerate="5:6,1:2")
    assert spans(edit) == [(1, 2), (5, 6)] and edit.seconds == 10
    assert edit.record["regenerate"] == [[1, 2], [5, 6]] and edit.record["strength"] == 1
    pairs = plan_edit(RECORDING, regenerate=[(1.0, 2.0), (5.0, 6.0)])
    assert pairs.record == edit.record


def test_extensions_go_after_or_before() -> None:
    after, before = plan_edit(RECORDING, extend=5), plan_edit(RECORDING, extend=-5, regenerate="1:2")
    assert (spans(after), after.offset, after.seconds) == ([(10, 15)], 0, 15)
    # Regions are in seconds of the recording, which begins 5 s into the result.
    assert (spans(before), before.offset, before.seconds) == ([(6, 7), (0, 5)], 5, 15)


def test_long_spans_are_cut_into_equal_pieces() -> None:
    assert [(p.start, p.stop) for p in cut(0, LONGEST_PIECE)] == [(0, 20)]
    pieces = cut(10, 60)
    assert [p.start for p in pieces] == pytest.approx([10, 10 + 50 / 3, 10 + 100 / 3])
    assert pieces[-1].stop == 60


def test_sections_follow_each_other() -> None:
    edit = plan_sections("0:30 calm piano; 30:45.5 drums: enter, loud")
    assert edit.seconds == 45.5 and edit.audio is None and not edit.keeps_nothing
    assert [(p.start, p.stop, p.prompt) for p in edit.pieces] == [
        (0, 15, "calm piano"),
        (15, 30, "calm piano"),
        (30, 45.5, "drums: enter, loud"),
    ]
    for text, message in (
        ("0:30 a; 31:40 b", "ends at 30 s"),
        ("5:30 a", "ends at 0 s"),
        ("0:30", "FROM:TO PROMPT"),
        ("0:0 a", "not within"),
        (" ; ", "is empty"),
        ("0:4000 a", "not within"),
    ):
        with pytest.raises(InputError, match=message):
            plan_sections(text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "nothing to do"),
        ({"regenerate": "8:12"}, "not within 0:10.00 s"),
        ({"regenerate": "4:4"}, "not within"),
        ({"regenerate": "4:4.05"}, "shorter than"),
        ({"regenerate": "1:3,2:4"}, "overlaps"),
        ({"extend": 0.01}, "at least"),
        ({"extend": 5, "strength": 0.5}, "no meaning for an extension"),
        ({"extend": 3600}, "at most 3600 s"),
        ({"strength": 0.0}, "strength"),
        ({"strength": 2.0}, "strength"),
        ({"extend": float("nan")}, "extend"),
        ({"sections": "0:5 a", "extend": 2}, "without a recording"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_refused_in_a_line(options: dict, message: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(InputError, match=message):
        plan(RECORDING, **options)


def test_options_without_a_recording_are_refused() -> None:
    assert plan() is None
    with pytest.raises(InputError, match=r"need a recording; give --data\.audio"):
        plan(extend=3)


def test_the_record_names_the_samples() -> None:
    other = Audio(RECORDING.samples * 0.5, 8000)
    first, second = (plan_edit(audio, extend=1).record["audio_sha256"] for audio in (RECORDING, other))
    assert first != second and plan_edit(RECORDING, extend=1).record["audio_sha256"] == first
