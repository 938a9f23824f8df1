"""Set-up files agree with each other, and make passes text on unchanged and unexecuted."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NO_DEPS = "pip install --no-deps -r requirements-no-deps.txt"
TARGETS = {"music", "test", "starter", "lint", "docs", "bench", "tensorboard", "install"}
PROMPTS = [
    "slow piano and soft strings",
    "music",
    "$(shell touch {mark}) $(error no) $HOME ${{HOME}} $$ $@",
    "`touch {mark}`; touch {mark} && touch {mark} | touch {mark}",
    'it\'s a "quoted" \\ back\\\\slash, comma, #hash %percent a=b := c',
    "Gemütliche Walzer für Übermorgen – 東京 ♫",
    "--help",
    "-n ) ( unbalanced",
    "two\nlines",
]
ECHO = """#!/bin/sh
printf '%s\\0' "$@" "SECONDS=$SECONDS"
exit ${STATUS:-0}
"""


class Make:
    """make with an environment that is up to date, whose python only prints its arguments."""

    def __init__(self, folder: Path) -> None:
        self.venv, self.mark = folder / "venv", folder / "executed"
        self.stamp, binaries = self.venv / "installed", self.venv / "bin"
        binaries.mkdir(parents=True)
        for name in ("python", "pip"):
            (binaries / name).write_text(ECHO)
            (binaries / name).chmod(0o755)
        self.stamp.touch()

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        outer = {
            "PROMPT",
            "OUT",
            "NEGATIVE",
            "BPM",
            "KEY",
            "SECONDS",
            "QUALITY",
            "FAST",
            "MAKEFLAGS",
            "MFLAGS",
            "MAKELEVEL",
            "MAKEOVERRIDES",
        }
        clean = {name: value for name, value in os.environ.items() if name not in outer}
        command = ["make", *arguments, f"VENV={self.venv}"]
        return subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True)


@pytest.fixture
def make(tmp_path):
    return Make(tmp_path)


def arguments_of(run: subprocess.CompletedProcess[str]) -> list[str]:
    assert run.returncode == 0, run.stderr
    return run.stdout.split("\0")


@pytest.mark.parametrize("prompt", PROMPTS)
@pytest.mark.parametrize("source", ["command line", "environment"])
def test_a_prompt_arrives_unchanged_and_is_never_executed(make, prompt, source):
    prompt = prompt.format(mark=make.mark)
    variables = {"PROMPT": prompt} if source == "environment" else {}
    run = make("music", *([] if variables else [f"PROMPT={prompt}"]), **variables)
    assert f"--data.prompt={prompt}" in arguments_of(run)
    assert not make.mark.exists()


def test_music_passes_its_variables_on(make):
    text = {"OUT": "my $HOME", "NEGATIVE": 'no "drums"; $(false)'}
    variables = [f"{name}={value}" for name, value in text.items()]
    run = make(
        "music",
        "PROMPT=a",
        "SECONDS=7.5",
        "SEED=3",
        "VARIATIONS=2",
        "ROUTE=waveform",
        "BPM=120",
        "KEY=D minor",
        *variables,
        SECONDS="99",
    )
    arguments = arguments_of(run)
    assert {"--model.bpm=120", "--model.key=D minor"} <= set(arguments)
    assert {"configs/cascade/waveform.yaml", "--model.seconds=7.5", "--model.seed=3"} <= set(arguments)
    assert {"--output.folder=my $HOME", "--model.negative=" + text["NEGATIVE"]} <= set(arguments)
    assert "--data.variations=2" in arguments
    assert "SECONDS=" in arguments, "a shell that counts SECONDS must not inherit them"


def starter_commands(make, *arguments: str) -> dict[str, list[str]]:
    """Options of each `fit` of `make starter`, by recipe, from a dry run on an empty folder."""
    run = make("-n", "starter", "BUILD=build/none", *arguments)
    assert run.returncode == 0, run.stderr
    commands = [line.split() for line in run.stdout.replace("\\\n", " ").splitlines() if " fit -c " in line]
    return {Path(command[command.index("-c") + 1]).stem: command for command in commands}


def test_the_starter_trains_on_a_gpu_with_larger_batches(make):
    on_cpu, on_gpu = starter_commands(make), starter_commands(make, "DEVICE=gpu")
    assert len(on_cpu) == 6
    assert on_cpu.keys() == on_gpu.keys()
    for recipe, command in on_gpu.items():
        assert "configs/trainer/one_gpu.yaml" in command
        assert "configs/trainer/one_gpu.yaml" not in on_cpu[recipe]
        # The shell computes the batch.
        line = " ".join(command)
        expression = line.split("--data.batch_size ")[1].split(" --")[0]
        batch = subprocess.run(["bash", "-c", f"echo {expression}"], cwd=ROOT, capture_output=True, text=True)
        config = yaml.safe_load((ROOT / f"configs/starter/{recipe}.yaml").read_text())
        assert int(batch.stdout) == 4 * config["data"]["init_args"]["batch_size"]


def test_an_unknown_device_is_a_one_line_error(make):
    run = make("-n", "starter", "BUILD=build/none", "DEVICE=tpu")
    assert run.returncode == 2
    assert "DEVICE is tpu; give cpu or gpu" in run.stderr


def test_students_are_trained_from_the_weights_beside_which_they_are_stored(make):
    run = make("-n", "students", "BUILD=build/none")
    assert run.returncode == 0, run.stderr
    students = {recipe.stem for recipe in (ROOT / "configs/starter").glob("*_few.yaml")}
    assert len(students) == 5
    for student in students:
        teacher = f"pretrained/{student.removesuffix('_few')}"
        assert f"fit -c configs/starter/{student}.yaml --weights {teacher} --data.shards" in run.stdout
        export = f"export build/none/runs/{student} pretrained/{student} --base {teacher} --rank 8\n"
        assert export in run.stdout


def test_seconds_of_the_surrounding_shell_are_ignored(make):
    assert "--model.seconds=30" in arguments_of(make("music", "PROMPT=a", SECONDS="99"))


def test_music_uses_the_students_that_exist_unless_the_quality_is_full(make, tmp_path):
    def configs(*arguments):
        words = arguments_of(make("music", "PROMPT=a", f"PRETRAINED={tmp_path}", *arguments))
        return [words[i + 1].removeprefix("configs/cascade/") for i, word in enumerate(words) if word == "-c"]

    assert configs() == ["spectrogram.yaml"]
    for stage in ("spectrogram_generator", "spectrogram_vocoder", "waveform_cascader", "super_resolution"):
        (tmp_path / f"{stage}_few").mkdir()
        (tmp_path / f"{stage}_few" / "config.yaml").touch()
    refiners = ["few/spectrogram_vocoder.yaml", "few/super_resolution.yaml"]
    assert configs("QUALITY=fast") == ["spectrogram.yaml", "few/spectrogram_generator.yaml", *refiners]
    fast = configs("QUALITY=fast", "ROUTE=waveform")
    assert fast == ["waveform.yaml", "few/waveform_cascader.yaml", "few/super_resolution.yaml"]
    # By default only those that are as good as their teachers.
    assert configs() == configs("QUALITY=good") == ["spectrogram.yaml", "few/spectrogram_vocoder.yaml"]
    assert configs("AS_GOOD=super_resolution", "ROUTE=waveform")[1:] == ["few/super_resolution.yaml"]
    assert configs("QUALITY=full") == configs("NEGATIVE=drums, $(x)") == ["spectrogram.yaml"]
    run = make("music", "PROMPT=a", "QUALITY=best")
    assert run.returncode == 2 and "QUALITY is best; choose full, good or fast" in run.stderr


def test_kept_music_uses_the_generator_that_trained_for_it(make, tmp_path):
    def configs(*arguments):
        words = arguments_of(make("music", f"PRETRAINED={tmp_path}", *arguments))
        return [words[i + 1].removeprefix("configs/cascade/") for i, word in enumerate(words) if word == "-c"]

    editor = "edit/spectrogram_generator.yaml"
    assert configs("CONTINUE=a.wav") == ["spectrogram.yaml"]
    for folder in ("spectrogram_generator_edit", "spectrogram_generator_few"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.yaml").touch()
    assert configs("REPAIR=a.wav", "FROM=1", "TO=2", "QUALITY=full") == ["spectrogram.yaml", editor]
    for task in (("CONTINUE=a.wav",), ("SECTIONS=0:30 calm piano; 30:60 drums",)):
        assert configs(*task)[-1] == editor
    assert editor not in configs("PROMPT=a") + configs("VARY=a.wav") + configs("CONTINUE=a", "ROUTE=waveform")


@pytest.mark.parametrize(("kind", "count"), [("few", 5), ("edit", 1)])
def test_the_config_of_a_student_or_editor_replaces_a_stage(kind, count):
    routes = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs/cascade").glob("*.yaml")]
    overlays = sorted((ROOT / "configs/cascade" / kind).iterdir())
    assert len(overlays) == count
    for overlay in overlays:
        ((place, run),) = yaml.safe_load(overlay.read_text())["model"]["init_args"].items()
        assert run == {"folder": f"pretrained/{overlay.stem}_{kind}"}
        teachers = {route["model"]["init_args"][place]["folder"] for route in routes}
        assert f"pretrained/{overlay.stem}" in teachers


@pytest.mark.parametrize("arguments", [(), ("PROMPT=",), ("PROMPT=  ",)])
def test_music_without_a_prompt_is_a_one_line_error_with_exit_code_2(make, arguments):
    run = make("music", *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r'.*make music PROMPT="[^"]+".*\n', run.stderr)


def test_help_is_the_default_and_lists_the_fixed_targets(make):
    assert make().stdout == make("help").stdout
    assert set(re.findall(r"^  (\w+) ", make().stdout, re.MULTILINE)) >= TARGETS


def test_fast_skips_the_slow_tests(make):
    assert "not slow" in arguments_of(make("test", "FAST=1"))
    assert "not slow" not in arguments_of(make("test"))


def test_a_failed_install_leaves_no_stamp(make):
    make.stamp.unlink()
    assert make("install", STATUS="1").returncode == 2
    assert not make.stamp.exists()
    assert make("install").returncode == 0
    assert make.stamp.exists()


def test_a_changed_project_is_installed_again(make):
    assert "pip" not in make("install").stdout
    os.utime(make.stamp, (0, 0))
    assert "constraints.txt" in arguments_of(make("install"))
    assert make.stamp.stat().st_mtime > 0


def test_an_old_python_is_reported(make):
    make.stamp.unlink()
    (make.venv / "bin/pip").unlink()
    run = make("install", "PYTHON=false")
    assert run.returncode == 2
    assert run.stderr.startswith("Python 3.11 or newer is needed")
    assert not make.stamp.exists()


def test_environment_yml_equals_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    requirements = [line for line in pip["pip"] if not line.startswith("--")]
    assert sorted(requirements) == sorted(PROJECT["dependencies"])
    assert f"python{PROJECT['requires-python']}" in conda
    assert environment["name"] == PROJECT["name"]


def test_the_command_for_packages_without_dependencies_is_the_same_everywhere():
    texts = [ROOT / "environment.yml", ROOT / "docs/quick_start.md"]
    assert all(NO_DEPS in text.read_text() for text in texts)
    assert "--no-deps --requirement $(NO_DEPS)" in (ROOT / "Makefile").read_text()


def test_tested_versions_are_within_the_declared_ranges():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    tested = {name.lower().replace("_", "-"): version for name, version in pins.items()}
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]
    for declared in map(Requirement, PROJECT["dependencies"] + extras):
        assert declared.specifier.contains(tested[declared.name]), declared


def test_dev_has_what_make_docs_needs():
    extras = PROJECT["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["dev"])


def test_the_wheel_has_recipes_data_files_types_and_commands(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (commands,) = [archive.read(name).decode() for name in names if name.endswith("entry_points.txt")]
    recipes = {f"lightning_n2m/{path.relative_to(ROOT)}" for path in (ROOT / "configs").rglob("*.yaml")}
    packages = [ROOT / "lightning_n2m", ROOT / "data_pipeline"]
    files = {
        str(path.relative_to(ROOT))
        for package in packages
        for path in package.rglob("*")
        if path.suffix in (".py", ".toml", ".txt", ".typed")
    }
    assert len(recipes) > 10
    assert recipes | files <= names
    assert all(f"{name}/py.typed" in names for name in ("lightning_n2m", "data_pipeline"))
    assert "n2m = lightning_n2m.cli.main:main" in commands
    assert "n2m-data = data_pipeline.__main__:main" in commands


def test_allocator_settings_are_plain_assignments_that_make_uses():
    settings = ROOT / "configs/trainer/cpu.env"
    lines = [line for line in settings.read_text().splitlines() if not line.startswith("#")]
    assert lines
    assert all(re.fullmatch(r"[A-Z_]+=[0-9]+", line) for line in lines)
    assert "configs/trainer/cpu.env" in (ROOT / "Makefile").read_text()


def test_the_output_folders_of_documented_commands_are_ignored_by_git():
    outputs = (
        "runs/x",
        "shards/index.json",
        "my/x",
        "outputs/a.wav",
        "manifest.jsonl",
        "evaluation/x",
        "ablation/x",
    )
    run = subprocess.run(["git", "check-ignore", *outputs], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout.split() == list(outputs)


@pytest.fixture(scope="module")
def tracked():
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode or not listing.stdout:
        pytest.skip("not a git checkout")
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_no_tracked_file_is_over_40_mb(tracked):
    assert [path for path in tracked if path.stat().st_size > 40e6] == []


def test_no_tracked_file_names_a_home_folder(tracked):
    home = re.compile(rb"(?<![\w.$}])/(root|home/\w+|Users/\w+)/")
    assert [path for path in tracked if home.search(path.read_bytes())] == []
