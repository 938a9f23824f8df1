"""The page of stats shows metadata as text."""

from __future__ import annotations

import json
from pathlib import Path

from data_pipeline.__main__ import main
from lightning_n2m.data.schema import read_index
from tests.data_pipeline.damage import Members, change, write_index

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e\"'"


def test_a_page_of_hostile_titles_shows_them_as_text(copy: Path, tmp_path: Path) -> None:
    def rename(found: Members) -> Members:
        fields = {"title": HOSTILE, "licence": HOSTILE, "genres": [HOSTILE], "tags": ["$\\frac{"]}
        return [
            (name, json.dumps(json.loads(data) | fields).encode() if name.endswith(".json") else data)
            for name, data in found
        ]

    index = read_index(copy)
    write_index(copy, index.shards[:1])
    change(copy, rename)
    page = tmp_path / "page"
    assert main(["stats", "--shards", str(copy), "--output", str(page), "--workers", "1"]) == 0
    text = (page / "index.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "\x1b" not in text
    assert "\u202e" not in text
