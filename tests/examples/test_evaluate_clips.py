from __future__ import annotations

import shutil

import pytest

from examples.evaluate_clips import main
from tests.paths import CLIPS

pytestmark = pytest.mark.filterwarnings("ignore:A Fréchet distance")


@pytest.fixture
def folders(tmp_path):
    """Two folders of the same two clips, and one of another clip twice."""
    for name, clips in {"a": ("polka", "folk"), "b": ("polka", "folk"), "c": ("reggae", "reggae")}.items():
        (tmp_path / name).mkdir()
        for number, clip in enumerate(clips):
            shutil.copy(CLIPS / f"{clip}.ogg", tmp_path / name / f"{number}.ogg")
    return tmp_path


def test_equal_folders_have_distance_zero_and_other_music_a_larger_one(folders):
    same, other = (main([str(folders / name), str(folders / "a"), "--seconds", "4"]) for name in "bc")
    assert same == pytest.approx(0, abs=0.05)
    assert other > 20


def test_a_folder_without_long_clips_is_a_one_line_error(tmp_path):
    with pytest.raises(SystemExit, match="needs two sound files"):
        main([str(tmp_path), str(tmp_path)])
