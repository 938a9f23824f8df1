from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from lightning_n2m.cli.main import main
from lightning_n2m.stages import bundle_config
from tests.paths import ROOT


def test_the_help_comes_before_any_heavy_import() -> None:
    script = (
        "import sys; from lightning_n2m.cli.main import main; main(['predict', '--help'])\n"
        "assert not {'torch', 'lightning', 'jsonargparse'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--data.prompt" in done.stdout


@pytest.mark.parametrize("command", ["fit", "predict", "ablate"])
def test_a_missing_config_is_reported_before_any_heavy_import(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_n2m.cli.lightning_cli", None)
    with pytest.raises(SystemExit) as stop:
        main([command, "--trainer.max_steps", "4", "-c", "starter/no_such_recipe.yaml"])
    assert stop.value.code == 2
    assert "The config starter/no_such_recipe.yaml does not exist" in capsys.readouterr().err


def test_an_unknown_command_lists_all(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["fly", "--data.prompt=x"])
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert all(
        command in error for command in ("fit", "validate", "test", "predict", "ablate", "plan", "export")
    )


def test_trust_is_an_option_of_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bundle_config, "_trusted_packages", set())
    with pytest.raises(SystemExit):
        main(["export", "--trust", "my_package", "--trust=other", "nowhere", "out"])
    assert bundle_config._trusted_packages == {"my_package", "other"}
    assert "nowhere" in capsys.readouterr().err


def test_control_characters_never_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["export", "\x1b[2Jnowhere", "out"])
    error = capsys.readouterr().err
    assert "\x1b" not in error and "nowhere" in error


def test_a_warning_is_one_line_without_its_place_in_the_source() -> None:
    program = "import warnings, lightning_n2m.cli.main as m\n"
    program += "m._run = lambda *_: warnings.warn('few\\x1b clips')\nm.main()"
    job = subprocess.run([sys.executable, "-c", program, "export"], capture_output=True, text=True, cwd=ROOT)
    assert job.stderr == "warning: few\\x1b clips\n"


def test_an_interrupt_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_n2m.cli.main._take_trusted", interrupted)
    with pytest.raises(SystemExit) as stop:
        main(["export", "a", "b"])
    assert stop.value.code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


@pytest.mark.parametrize("module", ["lightning_n2m.cli.main", "data_pipeline.__main__"])
def test_an_interrupt_while_the_interpreter_ends_prints_nothing(module: str) -> None:
    code = (
        f"import atexit, sys, time\nfrom {module} import main\nsys.argv = ['program', '--help']\n"
        "def end():\n    print('the end', flush=True)\n    time.sleep(20)\natexit.register(end)\nmain()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        while process.stdout.readline() != "the end\n":
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait() == -signal.SIGINT


@pytest.mark.slow
def test_the_first_line_appears_within_three_seconds() -> None:
    began = time.monotonic()
    command = [sys.executable, "-m", "lightning_n2m", "predict", "-c", "nothing.yaml"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "n2m predict: loading ...\n"
        # Twice the promise: the machine of the tests runs others at the same time.
        assert time.monotonic() - began < 6
        assert process.wait() == 2
