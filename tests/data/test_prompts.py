from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch

from lightning_n2m.audio.io import write
from lightning_n2m.data.prompts import Prompts, share_of_rank
from lightning_n2m.errors import InputError


def test_lines_of_a_file_are_free_text(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes("\ufeffGenre: Pop\r\n[rock, jazz]\n\n  null \nnull\na\x0bb\u2028c\n".encode())
    assert Prompts(file=str(file)).prompts() == ["Genre: Pop", "[rock, jazz]", "null", "a\x0bb\u2028c"]


@pytest.mark.parametrize("arguments", [{"file": "-"}, {"prompt": "-"}])
def test_a_dash_is_standard_input(arguments: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\ufeffreggae\nska\n"))
    assert Prompts(**arguments).prompts() == ["reggae", "ska"]


def test_variations_and_what_is_kept() -> None:
    prompts = Prompts("ska", variations=3, batch_size=2)
    assert [item["variation"] for item in prompts.items()] == [0, 1, 2]
    prompts.keep(prompts.items()[1:])
    assert list(prompts.predict_dataloader()) == [
        [{"prompt": "ska", "variation": 1}, {"prompt": "ska", "variation": 2}]
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff\xfe", "not UTF-8"), (b"\n \n", "prompt is empty"), (b"", "prompt is empty")],
)
def test_a_file_without_prompts_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_bytes(content)
    with pytest.raises(InputError, match=message):
        Prompts(file=str(tmp_path / "p.txt")).prompts()


def test_other_input_is_refused_in_one_line(tmp_path: Path) -> None:
    for prompts, message in (
        (Prompts(file=str(tmp_path)), "Is a directory"),
        (Prompts(file=str(tmp_path / "no")), "No such file"),
        (Prompts("a \udcff b"), "not valid UTF-8"),
    ):
        with pytest.raises(InputError, match=message):
            prompts.prompts()
    for settings in ({"variations": 0}, {"batch_size": 0}):
        with pytest.raises(InputError, match="give a number from 1"):
            Prompts("ska", **settings)


@pytest.mark.parametrize(
    ("items", "batch_size", "ranks"), [(10, 4, 1), (10, 4, 3), (2, 4, 3), (7, 1, 4), (9, 2, 2)]
)
def test_ranks_share_prompts_without_gap_or_overlap(items: int, batch_size: int, ranks: int) -> None:
    shares = [share_of_rank(range(items), batch_size, rank, ranks) for rank in range(ranks)]
    assert sorted(item for share in shares for batch in share for item in batch) == list(range(items))
    # Equal numbers of batches, since ranks wait for each other at the end; shares differ by one item at most.
    assert len({len(share) for share in shares}) == 1
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(batch) <= batch_size for share in shares for batch in share)


def test_one_rank_has_all_prompts_in_order(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("one\ntwo\n\nthree\n")
    batches = list(Prompts(file=str(file), variations=2, batch_size=4).predict_dataloader())
    prompts = [[(item["prompt"], item["variation"]) for item in batch] for batch in batches]
    assert prompts == [[("one", 0), ("one", 1), ("two", 0), ("two", 1)], [("three", 0), ("three", 1)]]


def test_a_recording_needs_no_prompt_and_is_planned(tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", 0.1 * torch.ones(1, 16_000), 8000)
    prompts = Prompts(audio=str(path), regenerate="0.5:1", strength=0.4, variations=2)
    assert prompts.items() == [{"prompt": "", "variation": 0}, {"prompt": "", "variation": 1}]
    edit = prompts.edit()
    assert edit is not None and edit.name == "song" and edit.strength == 0.4
    assert edit.record["audio"] == "song.wav" and edit.record["regenerate"] == [[0.5, 1.0]]
    assert Prompts("ska").edit() is None
    with pytest.raises(InputError, match="need a recording"):
        Prompts("ska", extend=3).edit()
