"""Derived forms in place of masters, and shards behind URLs."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.data.cache import Cache
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.schema import Captions, read_index
from lightning_n2m.data.shard_reader import read_shard
from lightning_n2m.data.shard_sources import find_sources
from lightning_n2m.data.training_stream import TrainingStream
from lightning_n2m.errors import InputError
from tests.data.conftest import name_only


def test_a_weight_that_is_not_above_zero_is_refused(build):
    folder = str(build([1]))
    for weight in (0, -1, float("nan")):
        with pytest.raises(InputError, match="one above 0"):
            find_sources({folder: weight}, "train")


def test_a_source_with_too_few_shards_is_named(build):
    weights = {str(build([4] * 4, "many")): 1, str(build([4], "few")): 1}
    with pytest.raises(InputError, match=r"1 training shards in .*few"):
        TrainingStream(find_sources(weights, "train"), name_only, 2, workers=2)


MEL = MelSettings()


@pytest.mark.parametrize("form", [TrainingFormat(3200), TrainingFormat(16_000, MEL)])
def test_a_stage_gets_the_same_from_derived_shards_as_from_their_masters(derived, form):
    decoder = ClipDecoder(form.sample_rate, 0.32, None, 0, False, form.mel)
    batches = []
    for wanted_form in (form, None):
        (source,) = find_sources(str(derived), "train", wanted_form)
        assert {file.path.parent.name for file in source.files} == {form.name if wanted_form else "shards"}
        batches.append(list(itertools.islice(TrainingStream([source], decoder, 1), 12)))
    for one, other in zip(*batches, strict=True):
        assert (one["key"], one["number"]) == (other["key"], other["number"])
        kind = "mel" if form.mel else "audio"
        assert (one[kind] - other[kind]).abs().max() < 2e-4


def test_captions_of_a_derived_clip_are_those_beside_its_master(derived):
    (source,) = find_sources(str(derived), "train", TrainingFormat(3200))
    captions = [raw.captions for file in source.files for raw in read_shard(file)]
    assert all(isinstance(item, Captions) for item in captions)


def test_a_form_of_other_shards_is_refused_and_of_other_settings_not_used(derived):
    other = dataclasses.replace(MEL, f_min=30.0)
    with pytest.warns(UserWarning, match="other settings"):
        (source,) = find_sources(str(derived), "train", TrainingFormat(16_000, other))
    assert not any(file.form for file in source.files)
    index = read_index(derived)
    changed = dataclasses.replace(index.shards[0], sha256="0" * 64)
    (derived / "index.json").write_text(
        dataclasses.replace(index, shards=(changed, index.shards[1])).to_json()
    )
    with pytest.raises(InputError, match="derived from other shards"):
        find_sources(str(derived), "train", TrainingFormat(3200))


# Shards behind URLs -------------------------------------------------------------------------------


@pytest.mark.parametrize("cached", [False, True])
def test_shards_behind_a_url_give_the_same_clips_as_in_a_folder(remote, cached, tmp_path):
    folder, url = remote
    cache = Cache(str(tmp_path / "cache")) if cached else None
    decoder = ClipDecoder(24_000, 0.05, None)
    streams = [
        TrainingStream(find_sources(place, "train", cache=cache), decoder, 1) for place in (str(folder), url)
    ]
    for one, other in itertools.islice(zip(*streams, strict=True), 20):
        assert one["key"] == other["key"]
        assert torch.equal(one["audio"], other["audio"])
    kept = sorted(path.stem for path in (tmp_path / "cache").glob("*"))
    assert kept == (sorted(shard.sha256 for shard in read_index(folder).shards) if cached else [])
