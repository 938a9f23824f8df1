from __future__ import annotations

import dataclasses
import itertools
import json
from types import SimpleNamespace

import pytest

from benchmarks.reserved import Reserved, Unreserved
from data_pipeline.starter_corpus.description import Truth, is_reserved
from data_pipeline.starter_corpus.instruments import INSTRUMENTS
from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.data.schema import Clip
from lightning_n2m.evaluation import evaluation_sets


def test_only_reserved_clips_are_items(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = [dataclasses.asdict(truth) for truth in _truths(200)]
    found = [EvaluationItem(str(n), "", json.loads(json.dumps(truth))) for n, truth in enumerate(truths)]
    found.append(EvaluationItem("recorded", "", {}))
    raw = [SimpleNamespace(clip=Clip(item.key, 0, 0, 10, 24_000, truth=item.truth)) for item in found]
    monkeypatch.setattr(evaluation_sets, "find_shards", lambda shards, split: [SimpleNamespace(path=split)])
    monkeypatch.setattr(evaluation_sets, "read_shard", lambda file: raw if file.path == "test" else [])
    wanted = {f"{n}-00" for n, truth in enumerate(_truths(200)) if is_reserved(truth)}
    assert len(wanted) > 2
    chosen = [item.key for item in Reserved("").items()]
    assert set(chosen) == wanted and len(chosen) == len(wanted)
    others = {item.key for item in Unreserved("", clips=1000).items()}
    assert others == {f"{n}-00" for n in range(len(truths))} - wanted
    assert [item.key for item in Reserved("", clips=2).items()] == chosen[:2]


def _truths(count: int) -> list[Truth]:
    base = {
        "groove": "", "tempo_bpm": 100, "key": "A", "mode": "major", "metre": "4/4", "instruments": ("a",),
        "families": (), "drums": False, "solo": True, "sound_font": "",
    }  # fmt: skip
    kinds = itertools.product(INSTRUMENTS, ("waltz", "ska", "jig"), ("slow", "fast"))
    return [Truth(lead=a, genre=b, tempo=c, seed="0/0", **base) for a, b, c in itertools.islice(kinds, count)]
