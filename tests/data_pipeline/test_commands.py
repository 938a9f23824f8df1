"""Wrong input: one sentence that names what is wrong, exit code 2, no traceback."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.__main__ import COMMANDS, main


@pytest.fixture
def place(tmp_path: Path, manifest: Path, music: Path) -> Path:
    """A folder with one of each wrong thing."""
    (tmp_path / "good.jsonl").write_bytes(manifest.read_bytes())
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "damaged.jsonl").write_text('{"track_id": \n')
    (tmp_path / "foreign.jsonl").write_text('{"name": "x"}\n')
    line = manifest.read_text().splitlines()[0]
    (tmp_path / "twice.jsonl").write_text(f"{line}\n{line}\n")
    (tmp_path / "nameless.jsonl").write_text('{"title": "x"}\n')
    (tmp_path / "wrong.jsonl").write_text('{"path": "x.ogg", "genres": {"a": 1}}\n')
    (tmp_path / "a_file").write_text("")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/audio-000000.tar").write_bytes(b"")
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus/starter.json").write_text(json.dumps({"seed": 1, "version": 1}))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("", "subcommand"),
        ("nonsense", "nonsense"),
        ("manifest", "source"),
        ("manifest --source nowhere --output m.jsonl", "nowhere"),
        ("manifest --source empty --output m.jsonl", "empty"),
        ("manifest --source music --output m.jsonl --metadata nowhere.jsonl", "nowhere.jsonl"),
        ("manifest --source music --output m.jsonl --metadata damaged.jsonl", "damaged.jsonl, line 1"),
        ("manifest --source music --output m.jsonl --metadata nameless.jsonl", "'path'"),
        ("manifest --source music --output m.jsonl --metadata wrong.jsonl", "'genres'"),
        ("manifest --source music --output m.jsonl --workers 0", "--workers 0"),
        ("manifest --source music --output a_file/m.jsonl", "a_file"),
        ("manifest --source music --output m.jsonl --nonsense 1", "--nonsense"),
        ("manifest --source music --output m.jsonl --minimum-seconds long", "minimum_seconds"),
        ("shard --manifest nowhere.jsonl --output s", "nowhere.jsonl"),
        ("shard --manifest empty.jsonl --output s", "empty.jsonl"),
        ("shard --manifest damaged.jsonl --output s", "damaged.jsonl, line 1"),
        ("shard --manifest foreign.jsonl --output s", "foreign.jsonl, line 1"),
        ("shard --manifest twice.jsonl --output s", "second time"),
        ("shard --manifest good.jsonl --output s --clip-seconds 31", "31"),
        ("shard --manifest good.jsonl --output s --clip-seconds nan", "clip_seconds"),
        ("shard --manifest good.jsonl --output s --clips-per-track 0", "clips_per_track"),
        ("shard --manifest good.jsonl --output s --validation 0.6 --test 0.5", "--validation"),
        ("shard --manifest good.jsonl --output old", "old"),
        ("shard --manifest good.jsonl --output a_file", "a_file"),
        ("shard --manifest good.jsonl --output s --kbps 5", "--kbps 5"),
        ("shard --manifest good.jsonl --output s --format mp3", "format"),
        ("shard --manifest good.jsonl --output s --spacing-seconds -1", "--spacing_seconds -1"),
        ("shard --manifest good.jsonl --output nonsense://s", "nonsense://s"),
        ("shard --manifest good.jsonl --output memory://s --workers 2", "memory://s"),
        ("manifest --source nonsense://s --output m.jsonl", "nonsense://s"),
        ("verify --shards nowhere", "nowhere"),
        ("verify --shards empty", "empty"),
        ("stats --shards nowhere --output s", "nowhere"),
        ("starter --output corpus", "seed"),
        ("starter --output corpus --pieces -1", "--pieces -1"),
    ],
)
def test_wrong_input(
    arguments: str,
    names: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("audio-*"))
    assert main(arguments.split()) == 2
    said = capsys.readouterr().err
    assert names in said
    assert said.count("\n") == 1
    assert said.endswith(".\n")
    assert sorted(place.rglob("audio-*")) == before


def test_the_command_line_itself(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "data_pipeline"]
    run = subprocess.run(
        [*command, "shard", "--manifest", "nowhere", "--output", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert "nowhere" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_made_of_docstrings_and_comes_without_torch(command: str) -> None:
    code = (
        "import sys; from data_pipeline.__main__ import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    main_option = "shards SHARDS" if command in ("verify", "label", "derive-text") else "output OUTPUT"
    assert re.search(rf"--{main_option} +[A-Z]\w+", run.stdout), "no description out of the docstring"
