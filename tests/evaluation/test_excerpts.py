from __future__ import annotations

import pytest
import torch

from lightning_n2m.data.evaluation_set import EvaluationSet
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.clip_features import compute_features
from lightning_n2m.evaluation.excerpts import Excerpts
from tests.evaluation.common import RATE, Files, Level, evaluate


def test_references_that_are_too_short_are_skipped(tmp_path):
    data, excerpts = evaluate(tmp_path, [4.0, 1.0, 3.1, 30.0])
    # 3.1 s lack less than 5 % of 3.2 s and are padded.
    assert [item.key for item in excerpts.items] == ["k0", "k2", "k3"]
    assert excerpts.notes == ("1 of 4 prompts are skipped: their references are shorter than 3.2 s.",)
    assert {audio.shape for audio in excerpts.references()} == {(1, round(3.2 * RATE))}
    assert len(data.generated.logits) == 3


def test_features_keep_the_order_of_the_items(tmp_path, monkeypatch):
    source = Files(tmp_path, [4.0] * 3)
    monkeypatch.setattr(
        source,
        "references",
        lambda items, rate: reversed(list(EvaluationSet.references(source, items, rate))),
    )
    excerpts = Excerpts.of(source, tmp_path)
    features, _ = excerpts.write_references(lambda x: compute_features(x, [Level()], []), "cpu")
    again = compute_features(excerpts.references(), [Level()], [])
    torch.testing.assert_close(features.logits, again.logits, atol=0.01, rtol=0)  # files have 16 bits


def test_a_missing_clip_is_reported(tmp_path):
    source = Files(tmp_path, [4.0] * 2)
    (tmp_path / "generated" / "k1.flac").unlink()
    with pytest.raises(InputError, match=r"k1\.flac is missing; run the same 'test' again"):
        Excerpts.of(source, tmp_path)
