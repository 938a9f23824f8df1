"""The benchmark of few-step students: which samplings it compares, and what it reuses."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.steps import OF_GENERATORS, OF_REFINERS, TARGETS, markdown, plot, points, stage_of
from tests.paths import ROOT

PRETRAINED = ROOT / "pretrained"


@pytest.mark.parametrize("stage", sorted(TARGETS))
def test_a_student_is_compared_with_its_teacher_at_the_evaluations_of_its_targets(stage: str) -> None:
    assert stage_of(PRETRAINED / stage) == stage
    curve = points(PRETRAINED / stage)
    reference = curve[0]
    assert reference.sampler.startswith("teacher") and reference.folder == PRETRAINED / stage
    evaluations = {
        kind: {point.evaluations for point in curve if kind in point.sampler}
        for kind in ("student", "DPM-Solver++(2M)")
    }
    assert set(TARGETS[stage]) <= evaluations["student"] & evaluations["DPM-Solver++(2M)"]
    # Two passes of a guided step count as two evaluations.
    is_generator = stage.endswith("generator")
    assert reference.evaluations == (100 if is_generator else reference.steps)


def test_what_a_point_generates_belongs_to_weights_sampling_and_number_of_clips(tmp_path: Path) -> None:
    folder = tmp_path / "super_resolution"
    shutil.copytree(PRETRAINED / "super_resolution", folder)
    first, other = points(folder)[-2:]
    assert first.work_folder(8) == points(folder)[-2].work_folder(8)
    folders = {first.work_folder(8), first.work_folder(16), other.work_folder(8)}
    with (folder / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    assert len(folders | {first.work_folder(8)}) == 4


def test_the_table_and_the_plot_show_what_was_measured(tmp_path: Path) -> None:
    rows = [
        {"sampler": "teacher", "steps": 5, "evaluations": 10, "STFT distance": 1.23456},
        {"sampler": "student", "steps": 2, "evaluations": 2, "STFT distance": 2.0, "FAD aisfx": 3.0},
    ]
    table = markdown(rows, list(OF_REFINERS)).splitlines()
    assert table[0] == "| sampling | steps | evaluations | STFT distance | FAD aisfx |"
    assert table[2:] == ["| teacher | 5 | 10 | 1.235 |  |", "| student | 2 | 2 | 2 | 3 |"]
    plot(rows, list(OF_GENERATORS) + list(OF_REFINERS), tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
