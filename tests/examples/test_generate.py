from __future__ import annotations

import pytest

from examples.generate import main
from lightning_n2m.audio.io import probe


@pytest.mark.slow
def test_prompts_become_sound_files_of_the_requested_length(tmp_path):
    main(["a slow waltz", "--seconds", "1", "--output", str(tmp_path)])
    (path,) = tmp_path.glob("*.wav")
    info = probe(path)
    assert (info.sample_rate, info.frames) == (24_000, 24_000)
