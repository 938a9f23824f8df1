from __future__ import annotations

import pytest
import torch

from lightning_n2m.audio.io import write
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet
from lightning_n2m.data.schema import Clip
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.evaluation_sets import (
    AudioSetMusic,
    MagnaTagATune,
    MusicCaps,
    Starter,
    most_specific_sentence,
)


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for number, name in enumerate(("abc", "def", "-x_1")):
        write(folder / f"{name}.wav", torch.full((2, 4800), 0.1 * number), 48_000)
    return folder


def test_musiccaps_gives_the_captions_of_existing_clips(tmp_path, audio):
    table = tmp_path / "musiccaps-public.csv"
    table.write_text(
        'ytid,start_s,end_s,caption\nabc,30,40,"A song, sad\nand slow"\n-x_1,0,10,Loud\ngone,0,10,Quiet\n'
    )
    items = MusicCaps(str(table), str(audio)).items()
    assert {item.key: item.prompt for item in items} == {"abc": "A song, sad\nand slow", "-x_1": "Loud"}
    references = dict(MusicCaps(str(table), str(audio)).references(items, 16_000))
    assert references["abc"].shape == (1, 1600)
    assert MusicCaps(str(table), str(audio), clips=1).items() == items[:1]


def test_magnatagatune_joins_tags_and_skips_single_ones(tmp_path, audio):
    table = tmp_path / "annotations_final.csv"
    rows = [
        ("clip_id", "no vocals", "slow", "harp", "mp3_path"),
        ("2", "1", "0", "1", "abc.wav"),
        ("6", "0", "1", "0", "def.wav"),
        ("10", "1", "1", "1", "missing.wav"),
        ("11", "1", "1", "1", "../annotations_final.csv"),
    ]
    table.write_text("\n".join("\t".join(f'"{cell}"' for cell in row) for row in rows))
    source = MagnaTagATune(str(table), str(audio))
    items = source.items()
    assert source.seconds == source.excerpt_seconds == 29  # whole clips
    assert [(item.key, item.prompt) for item in items] == [("2", "no vocals, harp")]


@pytest.mark.parametrize(
    ("labels", "prompt"),
    [
        ("/m/04rlf,/m/06by7", "Rock music"),
        ("/m/06by7,/m/04rlf,/m/05r5c", "Rock music, Piano"),
        ("/m/06by7", None),  # not labelled as music
        ("/m/04rlf", None),  # no label of appendix D
        ("/m/04rlf,/m/06by7,/m/09x0r", None),  # speech
        ("/m/04rlf,/m/0xzly", None),  # maracas are music, but not in appendix D
    ],
)
@pytest.mark.parametrize("quoted", ['abc, 30.000, 40.000, "{}"', 'abc,30,40," ""{}"""'])
def test_audioset_takes_clips_of_appendix_d_labels_only(tmp_path, audio, labels, prompt, quoted):
    segments = tmp_path / "eval_segments.csv"
    keep = 'def, 0.000, 10.000, "/m/04rlf,/m/05r5c"'
    segments.write_text(
        f"# YTID, start_seconds, end_seconds, positive_labels\n{quoted.format(labels)}\n{keep}\n"
    )
    items = AudioSetMusic(str(segments), str(audio)).items()
    expected = {"def": "Piano"} | ({"abc": prompt} if prompt else {})
    assert {item.key: item.prompt for item in items} == expected


@pytest.mark.parametrize("key", ["../evil", "a/b", "<img src=x>", ".hidden", "a b", "x" * 300])
def test_keys_that_are_no_file_names_are_refused(key):
    class Fixed(EvaluationSet):
        name = "fixed"

        def items(self):
            return self._select([EvaluationItem(key, "a song")], None)

    with pytest.raises(InputError, match="cannot be a file name"):
        Fixed().items()


def test_the_domain_of_a_shard_folder_is_found(shards, tmp_path, monkeypatch):
    rendered = Starter(str(shards), splits=("train",))
    assert rendered.domain == "rendered"
    assert len(rendered.items()) == 3
    keys = {item.key for item in rendered.items()}
    assert {key for key, _ in rendered.references(rendered.items(), 16_000)} == keys
    # The same clips without known truth, as one's own recordings are.
    bare = [EvaluationItem(item.key, item.prompt, {}, item.place, item.seconds) for item in rendered._read()]
    own = Starter(str(shards), splits=("train", "test"))  # a split that does not exist is skipped
    monkeypatch.setattr(own, "_held_out", bare)
    assert own.domain == "recorded"
    assert len(own.items()) == 3
    with pytest.raises(InputError, match="holds no test clips"):
        Starter(str(shards)).items()


def test_refusals_name_the_file(tmp_path, audio):
    table = tmp_path / "captions.csv"
    with pytest.raises(InputError, match=r"captions\.csv cannot be read"):
        MusicCaps(str(table), str(audio)).items()
    table.write_text("ytid,text\nabc,Loud\n")
    with pytest.raises(InputError, match="no column 'caption'"):
        MusicCaps(str(table), str(audio)).items()
    table.write_text("ytid,caption\nnot-here,Loud\n")
    with pytest.raises(InputError, match="MusicCaps is empty"):
        MusicCaps(str(table), str(audio)).items()
    with pytest.raises(InputError, match="does not exist"):
        MusicCaps(str(table), str(tmp_path / "nothing")).items()


def test_the_most_specific_sentence_is_the_prompt():
    clip = Clip("t", 0, 0.0, 30.0, 24_000, truth={"genre": "waltz"}, descriptions=(
        "Sad music.", "A waltz for piano, flute and drums in C minor.", "A waltz at 90 bpm."))  # fmt: skip
    assert most_specific_sentence(clip) == clip.descriptions[1]
    assert most_specific_sentence(clip, tempo=True) == clip.descriptions[2]
    assert (
        most_specific_sentence(Clip("t", 0, 0.0, 30.0, 24_000, genres=("metal",), tags=("loud",)))
        == "metal, loud"
    )


def test_prompts_for_choices_are_validation_clips_that_the_default_set_does_not_hold(monkeypatch):
    def read(self):
        names = [f"{split}-{i}" for split in self.splits for i in range(100)]
        return [EvaluationItem(name, name, {"tempo": "slow"}, "", 30.0) for name in names]

    monkeypatch.setattr(Starter, "_read", read)
    evaluated = {item.key for item in Starter("shards", domain="rendered").items()}
    chosen = {item.key for item in Starter("shards", domain="rendered", for_choices=True).items()}
    assert len(evaluated) == 128 and any(key.startswith("validation") for key in evaluated)
    assert chosen and all(key.startswith("validation") for key in chosen)
    assert not chosen & evaluated
    assert len(chosen | evaluated) == 128 + 100 - sum(key.startswith("validation") for key in evaluated)
