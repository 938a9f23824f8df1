from __future__ import annotations

from pathlib import Path

import pytest

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.loading import load_joint


def test_weights_of_another_shape_are_refused(joint: Path, tmp_path: Path) -> None:
    text = (joint / "config.yaml").read_text().replace("hidden: 512", "hidden: 256")
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "weights.safetensors").write_bytes((joint / "weights.safetensors").read_bytes())
    with pytest.raises(InputError, match="do not fit"):
        load_joint(str(tmp_path))
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(InputError, match=r"neither weights\.safetensors nor"):
        load_joint(str(tmp_path))


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_folder_without_its_parts_is_refused_in_one_sentence(clap: Path, tmp_path: Path, lost: str) -> None:
    for file in clap.iterdir():
        if file.name != lost:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    with pytest.raises(InputError, match=str(tmp_path)) as raised:
        load_joint(str(tmp_path))
    assert "\n" not in str(raised.value)


def test_what_is_no_joint_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load_joint("nowhere")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="'bert'"):
        load_joint(str(tmp_path))
