"""README, documentation and cards: links, Python examples and commands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from data_pipeline.__main__ import main as data_pipeline_main
from lightning_n2m.cli.main import main as n2m_main
from tests.paths import ROOT

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "examples").glob("*.md"),
        *(ROOT / "pretrained").rglob("*.md"),
    ]
)
LINK = re.compile(r"\]\((?!https?:)(?P<target>[^)#\s]*)(?P<anchor>#[^)\s]*)?\)")
# Options of commands that LightningCLI does not parse, with one value each.
OWN_OPTIONS = {"plan": {"--gpus", "--gpu", "--utilisation"}, "ablate": {"--output"}}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )


def anchors(page: Path) -> set[str]:
    """Anchors of the headings, as GitHub and MkDocs form them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()).strip() for heading in headings]
    return {"#" + heading.replace(" ", "-") for heading in plain}


def commands(page: Path) -> list[list[str]]:
    """Command lines of a page, continuation lines joined, without environment and pipes."""
    lines = "".join(blocks(page, "sh")).replace("\\\n", " ").splitlines()
    lines += re.findall(r"`((?:n2m|n2m-data|python -m \w+|make) [^`\n]*)`", page.read_text(encoding="utf-8"))
    return [shlex.split(line, comments=True) for line in lines if line.strip() and not line.startswith("#")]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_and_headings(page):
    broken = []
    for match in LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / match["target"]).resolve() if match["target"] else page
        if not target.exists() or (match["anchor"] and match["anchor"] not in anchors(target)):
            broken.append(match[0])
    assert broken == []


def test_readme_is_one_page():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_python_examples_run(page, tmp_path):
    """The blocks of a page run in order, as one program, in a folder that has the starter weights."""
    code = "\n".join(blocks(page, "python"))
    for folder in ("pretrained", "configs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    environment = {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PATH": "/usr/bin:/bin",
    }
    # 10 s of music would only take longer.
    code = code.replace("seconds=10", "seconds=1").replace("seconds=3", "seconds=1")
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_make_targets_in_the_documentation_exist():
    recipes = {recipe.stem for recipe in (ROOT / "configs/starter").glob("*.yaml")}
    students = {f"student-{name.removesuffix('_few')}" for name in recipes if name.endswith("_few")}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    targets |= {f"starter-{name}" for name in recipes} | students
    named = {
        word
        for page in PAGES
        for command in commands(page)
        if command[0] == "make"
        for word in command[1:]
        if re.fullmatch(r"[a-z][a-z_-]*", word)
    }
    assert {"music", "install", "starter", "docs"} <= named
    assert named - {"NAME"} <= targets


def n2m_commands() -> list[tuple[str, list[str]]]:
    """Program and arguments of all commands of the two programs, each once."""
    found = {}
    for page in PAGES:
        for words in commands(page):
            if words[:1] == ["env"]:
                words = words[next(i for i, word in enumerate(words) if word.startswith("n2m")) :]
            for module, program in (("lightning_n2m", "n2m"), ("data_pipeline", "n2m-data")):
                if words[:3] == ["python", "-m", module]:
                    words = [program, *words[3:]]
            if words[0] in ("n2m", "n2m-data") and len(words) > 2 and "..." not in words:
                found[shlex.join(words)] = (words[0], words[1:])
    return list(found.values())


COMMANDS = n2m_commands()


def test_the_documentation_has_commands_of_both_programs():
    assert len([words for program, words in COMMANDS if program == "n2m"]) > 10
    assert len([words for program, words in COMMANDS if program == "n2m-data"]) > 8


@pytest.mark.slow
@pytest.mark.parametrize(("program", "words"), COMMANDS, ids=[shlex.join(words) for _, words in COMMANDS])
def test_documented_commands_have_options_that_exist(program, words, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    command, *options = words
    if command == "export":
        if "--merge" in options:
            options = options[: options.index("--merge")]
        for option in (
            "--license",
            "--dataset",
            "--base_model",
            "--evaluation",
            "--format",
            "--base",
            "--rank",
        ):
            if option in options:
                place = options.index(option)
                assert option != "--format" or options[place + 1] == "onnx"
                del options[place : place + 2]
        assert len([word for word in options if not word.startswith("-")]) == 2
        assert {word for word in options if word.startswith("-")} <= {"--best", "--card"}
        return
    if command == "push":
        assert {word for word in options if word.startswith("-")} <= {"--private", "--message"}
        return
    for option in OWN_OPTIONS.get(command, ()):
        if option in options:
            place = options.index(option)
            del options[place : place + 2]
    if program == "n2m-data":
        arguments = [command, *options, "--print_config"]
        main = data_pipeline_main
    else:
        arguments = [{"plan": "fit", "ablate": "test"}.get(command, command), *options, "--print_config"]
        main = n2m_main
    try:
        code = main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    assert not code, capsys.readouterr().err
