"""The tables of AudioSet in the form in which they are published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_pipeline.scan.annotations.reader import Annotations
from lightning_n2m.errors import InputError
from tests.data_pipeline.scan.annotations.tables import joined

AUDIOSET = """# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=1, num_segs=1, num_unique_labels=3, num_positive_labels=3
# YTID, start_seconds, end_seconds, positive_labels
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0155w"
"""
ONTOLOGY = [
    {"id": "/m/04rlf", "name": "Music", "child_ids": ["/m/0kpv1t"]},
    {"id": "/m/0kpv1t", "name": "Music genre", "child_ids": ["/m/0x"]},
    {"id": "/m/0x", "name": "Old music", "child_ids": ["/m/0155w"]},
    {"id": "/m/0155w", "name": "Blues", "child_ids": []},
    {"id": "/m/068hy", "name": "Domestic animals", "child_ids": []},
]


def test_audioset(tmp_path: Path) -> None:
    known = tmp_path / "balanced_train_segments.csv"
    known.write_text(AUDIOSET)
    with pytest.raises(InputError, match=r"ontology\.json"):
        list(Annotations(known))
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY))
    (track,) = joined(tmp_path, known, "--4gqARaEJE_0_10.ogg")
    assert (track.genres, track.tags) == (("blues",), ("domestic animals",))


@pytest.mark.parametrize(
    "text",
    [
        'YTID,start_seconds,end_seconds,positive_labels\n--4gqARaEJE,0.0,10.0,"/m/068hy,/m/07q6cd_,/m/0155w"\n',
        ',YTID,start_seconds,end_seconds,positive_labels\n0,--4gqARaEJE,0.0,10.0,"/m/068hy,/m/0155w"\n',
        '# YTID,start_seconds,end_seconds,positive_labels\n--4gqARaEJE,0.0,10.0,"/m/068hy,/m/0155w"\n',
        "YTID\tstart_seconds\tend_seconds\tpositive_labels\n--4gqARaEJE\t0.0\t10.0\t/m/068hy,/m/0155w\n",
    ],
    ids=["pandas", "pandas with its index", "first line kept", "tabs"],
)
def test_audioset_saved_again_keeps_all_labels(text: str, tmp_path: Path) -> None:
    (tmp_path / "ontology.json").write_text(json.dumps(ONTOLOGY))
    (tmp_path / "saved.csv").write_text(text)
    (row,) = Annotations(tmp_path / "saved.csv")
    assert row.key == "--4gqARaEJE"
    assert (row.fields["genres"], row.fields["tags"]) == (("blues",), ("domestic animals",))
