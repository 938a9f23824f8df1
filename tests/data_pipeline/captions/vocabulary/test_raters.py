"""Damaged files of MusicCaps are refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_pipeline.captions.vocabulary.raters import read_raters
from lightning_n2m.errors import InputError


@pytest.mark.parametrize(
    "row",
    ["a,b", 'a,b,"[1]"', "a,b,1", 'a,b,"{}"', f"a,b,{'[' * 15_000}", f'a,b,"[{"1," * 20_000}]"', "a,b,x()"],
)
def test_a_row_that_musiccaps_cannot_have_is_one_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "captions.csv"
    path.write_text(f"ytid,caption,aspect_list\n{row}\n")
    with pytest.raises(InputError, match=r"captions\.csv cannot be read"):
        read_raters(path)
