from __future__ import annotations

import pytest

import lightning_n2m
from lightning_n2m.audio.io import probe
from tests.paths import ROOT

pytestmark = pytest.mark.skipif(not hasattr(lightning_n2m, "from_pretrained"), reason="lands separately")


@pytest.mark.slow
def test_prompts_become_sound_files_of_the_requested_length(tmp_path, monkeypatch):
    from examples.generate import main

    monkeypatch.chdir(ROOT)
    main(["a slow waltz", "--seconds", "1", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.wav")
    info = probe(path)
    assert (info.sample_rate, info.frames) == (24_000, 24_000)
