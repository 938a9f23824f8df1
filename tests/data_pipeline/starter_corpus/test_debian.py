"""Debian packages are downloaded and unpacked."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from data_pipeline.starter_corpus import debian
from lightning_n2m.errors import InputError


def command(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(stat.S_IRWXU)


def test_packages_are_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(tmp_path / "bin", "apt-get", "echo x >> ../../calls; : > $2_1.0_all.deb")
    command(tmp_path / "bin", "dpkg", "mkdir -p $3/usr; echo music > $3/usr/file")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    for _ in range(2):
        assert debian.file("thing", "usr/file", tmp_path / "cache").read_text() == "music\n"
    assert (tmp_path / "calls").read_text() == "x\n"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing"]
    with pytest.raises(InputError, match="holds no usr/other"):
        debian.file("thing", "usr/other", tmp_path / "cache")


@pytest.mark.parametrize(
    ("script", "says"), [("echo 'E: no such' >&2; exit 100", "E: no such"), ("exit 0", "no reason")]
)
def test_what_cannot_be_downloaded_is_named(
    script: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(tmp_path / "bin", "apt-get", script)
    command(tmp_path / "bin", "dpkg", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(InputError, match=f"thing cannot be downloaded .{says}"):
        debian.package("thing", tmp_path / "cache")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="'apt-get' is not on this machine"):
        debian.package("thing", tmp_path / "cache")
