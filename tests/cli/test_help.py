from __future__ import annotations

import re

import pytest
import yaml

from lightning_n2m.cli.help import COMMANDS
from lightning_n2m.cli.main import main


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_on_two_screens(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([command, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 48 and max(map(len, lines)) <= 100
    assert f"n2m {command}" in lines[0]


OPTION = re.compile(r"(?:^|  )--((?:data|model|output|trainer|checkpoint|samples|evaluation)\.[\w.]+)", re.M)


@pytest.mark.parametrize("command", ["predict", "fit", "test", "validate"])
def test_the_options_of_the_help_exist(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each option that the help names is one that the parser takes."""
    is_cascade = command in ("predict", "test")
    recipe = "cascade/spectrogram.yaml" if is_cascade else "starter/waveform_generator.yaml"
    options = set(OPTION.findall(COMMANDS[command]))
    assert len(options) > 3
    with pytest.raises(SystemExit) as stop:
        main([command, "-c", recipe, "--print_config"])
    assert stop.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    for option in options:
        section = config
        for part in option.split("."):
            if isinstance(section, dict) and "init_args" in section:
                section = section["init_args"]
            assert part in section, option
            section = section[part]
