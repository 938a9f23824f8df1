from __future__ import annotations

from pathlib import Path

import torch

from lightning_n2m.mulan.loading import load_joint


def test_a_text_is_embedded_the_same_in_any_company(joint: Path) -> None:
    towers = load_joint(str(joint))
    alone = towers.embed_text(["a slow waltz for piano"])
    together = towers.embed_text(["drums", "a slow waltz for piano", "an endless drone of low strings"])
    assert torch.allclose(alone[0], together[1], atol=1e-6)
