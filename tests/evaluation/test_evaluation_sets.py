from __future__ import annotations

import json

import pytest
import torch

from lightning_n2m.audio.io import write
from lightning_n2m.data.schema import Clip
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.evaluation_sets import AudioSetMusic, MagnaTagATune, MusicCaps, telling


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    for number, name in enumerate(("abc", "def", "-x_1")):
        write(folder / f"{name}.wav", torch.full((2, 4800), 0.1 * number), 48_000)
    return folder


def test_musiccaps_asks_for_what_is_there(tmp_path, audio):
    table = tmp_path / "musiccaps-public.csv"
    table.write_text(
        'ytid,start_s,end_s,caption\nabc,30,40,"A song, sad\nand slow"\n-x_1,0,10,Loud\ngone,0,10,Quiet\n'
    )
    items = MusicCaps(str(table), str(audio)).items()
    assert {item.key: item.prompt for item in items} == {"abc": "A song, sad\nand slow", "-x_1": "Loud"}
    real = dict(MusicCaps(str(table), str(audio)).real(items, 16_000))
    assert real["abc"].shape == (1, 1600)
    assert MusicCaps(str(table), str(audio), clips=1).items() == items[:1]


def test_magnatagatune_joins_tags_and_leaves_out_single_ones(tmp_path, audio):
    table = tmp_path / "annotations_final.csv"
    rows = [
        ("clip_id", "no vocals", "slow", "harp", "mp3_path"),
        ("2", "1", "0", "1", "abc.wav"),
        ("6", "0", "1", "0", "def.wav"),
        ("10", "1", "1", "1", "missing.wav"),
    ]
    table.write_text("\n".join("\t".join(f'"{cell}"' for cell in row) for row in rows))
    items = MagnaTagATune(str(table), str(audio)).items()
    assert [(item.key, item.prompt) for item in items] == [("2", "no vocals, harp")]


def test_audioset_keeps_clips_that_are_music_only(tmp_path, audio):
    nodes = [
        ("/m/music", "Music", ["/m/genre"]),
        ("/m/genre", "Music genre", ["/m/rock"]),
        ("/m/rock", "Rock music", []),
        ("/m/speech", "Speech", []),
    ]
    ontology = tmp_path / "ontology.json"
    ontology.write_text(json.dumps([{"id": i, "name": n, "child_ids": c} for i, n, c in nodes]))
    segments = tmp_path / "eval_segments.csv"
    segments.write_text(
        '# YTID, start_seconds, end_seconds, positive_labels\nabc, 30.000, 40.000, "/m/music,/m/rock"\n'
        'def, 0.000, 10.000, "/m/music,/m/speech"\n'
    )
    items = AudioSetMusic(str(segments), str(ontology), str(audio)).items()
    assert [(item.key, item.prompt) for item in items] == [("abc", "Music, Rock music")]


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


def test_the_sentence_that_asks_for_most_is_the_prompt():
    clip = Clip("t", 0, 0.0, 30.0, 24_000, truth={"genre": "waltz"}, descriptions=(
        "Sad music.", "A waltz for piano, flute and drums in C minor.", "A waltz at 90 bpm."))  # fmt: skip
    assert telling(clip) == clip.descriptions[1]
    assert telling(clip, tempo=True) == clip.descriptions[2]
    assert telling(Clip("t", 0, 0.0, 30.0, 24_000, genres=("metal",), tags=("loud",))) == "metal, loud"
