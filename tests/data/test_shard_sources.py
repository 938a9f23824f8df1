"""Several sources by weight, derived forms in place of masters, and shards behind URLs."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import pytest
import torch

from data_pipeline.__main__ import main
from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.data.cache import Cache
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.mixture import Mixture
from lightning_n2m.data.schema import Captions, read_index
from lightning_n2m.data.shard_reader import read_shard
from lightning_n2m.data.shard_sources import find_sources
from lightning_n2m.data.stream_order import StreamOrder
from lightning_n2m.data.training_stream import TrainingStream
from lightning_n2m.errors import InputError
from tests.data_pipeline.conftest import tree


def name_only(raw, number):
    return {"key": raw.clip.key, "number": number}


def drawn(sources, count, start=0, **options):
    stream = TrainingStream(sources, name_only, 1, start=start, **options)
    return [example["key"] for example in itertools.islice(stream, count)]


def shares(keys):
    return Counter(key.split("0")[0] for key in keys)


# Mixing ------------------------------------------------------------------------------------------


def test_shares_are_exact_at_every_moment(build):
    weights = {str(build([9] * 3, "a")): 3, str(build([5] * 3, "b")): 1, str(build([2] * 3, "c")): 0.5}
    keys = drawn(find_sources(weights, "train"), 640)
    for length in range(64, 641, 64):
        found = shares(keys[:length])
        for name, weight in (("a", 3), ("b", 1), ("c", 0.5)):
            assert abs(found[name] - length * weight / 4.5) < 1
    dealt = [key[0] for key in keys]
    assert dealt[:64] != dealt[64:128], "within a block the order is drawn"


def test_a_mixture_is_a_pure_function_of_the_seed_and_resumes_anywhere(build):
    weights = {str(build([7, 3, 5], "a")): 0.7, str(build([4, 2, 6], "b")): 0.3}
    sources = find_sources(weights, "train")
    whole = drawn(sources, 300)
    assert whole == drawn(sources, 300)
    assert whole != drawn(sources, 300, seed=1)
    for start in (1, 5, 63, 64, 65, 100, 199, 256):
        assert drawn(sources, 300 - start, start) == whole[start:], start


def test_each_source_gives_all_its_clips_before_any_is_repeated(build):
    weights = {str(build([7, 3], "a")): 2, str(build([4, 2], "b")): 1}
    keys = drawn(find_sources(weights, "train"), 120)
    for name, clips in (("a", 10), ("b", 6)):
        own = [key for key in keys if key.startswith(name)]
        assert len(set(own[:clips])) == clips
        assert Counter(own[: 3 * clips // clips * clips]).most_common(1)[0][1] == 3


def test_ranks_of_a_mixture_share_an_epoch_without_overlap(build):
    weights = {str(build([4] * 4, "a")): 1, str(build([4] * 4, "b")): 1}
    sources = find_sources(weights, "train")
    ranks = [drawn(sources, 16, rank=rank, world_size=2) for rank in range(2)]
    # In 64 clips each source has 32; the first 16 of a rank may hold some of one source more than 8.
    assert not set(ranks[0]) & set(ranks[1])


def test_skipped_clips_of_a_mixture_are_not_read(build, monkeypatch):
    files = [find_sources(str(build([4] * 4, name)), "train")[0].files for name in "ab"]
    opened = []
    monkeypatch.setattr(
        "lightning_n2m.data.stream_order.read_shard", lambda f: opened.append(f) or read_shard(f)
    )
    orders = tuple(StreamOrder(own, 1, 0, 0, 1) for own in files)
    list(itertools.islice(Mixture(orders, (1.0, 1.0), 0, 0).clips(1000), 2))
    assert len(opened) <= 2


def test_a_weight_that_is_not_above_zero_is_refused(build):
    folder = str(build([1]))
    for weight in (0, -1, float("nan")):
        with pytest.raises(InputError, match="one above 0"):
            find_sources({folder: weight}, "train")


def test_a_source_with_too_few_shards_is_named(build):
    weights = {str(build([4] * 4, "many")): 1, str(build([4], "few")): 1}
    with pytest.raises(InputError, match=r"1 training shards in .*few"):
        TrainingStream(find_sources(weights, "train"), name_only, 2, workers=2)


# Derived forms -----------------------------------------------------------------------------------

MEL = MelSettings()


@pytest.fixture
def derived(build):
    """Shards of noise, with a low rate and log-mels beside them."""
    folder = build([3, 2], seconds=0.6, captions=True)
    for form in ("3200", "mel"):
        assert main(["shard", "--output", str(folder), "--derive", form, "--workers", "1"]) == 0
    return folder


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


def test_deriving_again_does_only_what_is_missing(derived):
    before = tree(derived)
    times = {path: path.stat().st_mtime_ns for path in derived.glob("3200/*.tar")}
    (derived / "3200/audio-000001.tar").unlink()
    assert main(["shard", "--output", str(derived), "--derive", "3200", "--workers", "1"]) == 0
    assert tree(derived) == before
    kept = derived / "3200/audio-000000.tar"
    assert kept.stat().st_mtime_ns == times[kept]


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


@pytest.mark.parametrize("form", ["24000", "0", "x", "-5", "3200.5"])
def test_a_wrong_name_of_a_form_is_refused(derived, form, capsys):
    assert main(["shard", "--output", str(derived), f"--derive={form}"]) == 2
    assert "'mel'" in capsys.readouterr().err


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
