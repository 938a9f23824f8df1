"""The local language model."""

from __future__ import annotations

import os
import sys

import pytest

from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.writer import LocalWriter


def test_the_bars_of_tqdm_are_disabled_before_torch_imports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TQDM_DISABLE", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="torch"):
        next(LocalWriter("nowhere").write([Song("A title", "An artist")]))
    assert os.environ["TQDM_DISABLE"] == "1"
