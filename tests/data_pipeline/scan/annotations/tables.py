"""Pieces of music joined with a table of annotations."""

from __future__ import annotations

import shutil
from pathlib import Path

from data_pipeline.__main__ import main
from data_pipeline.scan.track import Track, read_manifest
from tests.data_pipeline.conftest import CLIPS

MUSICCAPS = """ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_audioset_eval
-0Gj8-vB1q4,30,40,"/m/0140xf","['soft voice', ""piano's melody""]","A slow song, with a piano.",4,True
"""


def music(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sorted(CLIPS.glob("*.ogg"))[number], folder / name)
    return folder


def joined(tmp_path: Path, known: Path, *names: str) -> list[Track]:
    source = music(tmp_path / "music", *names)
    output = tmp_path / "m.jsonl"
    arguments = ["--source", str(source), "--metadata", str(known), "--output", str(output), "--workers", "1"]
    assert main(["manifest", *arguments]) == 0
    return read_manifest(output)
