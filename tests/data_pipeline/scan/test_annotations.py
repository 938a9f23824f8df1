"""Metadata of one's own in any table, and that of the public sets in the form in which they are published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from data_pipeline.__main__ import main
from data_pipeline.scan.annotations.reader import Annotations, keys_of
from data_pipeline.scan.track import Track, read_manifest
from lightning_n2m.errors import InputError
from tests.data_pipeline.conftest import CLIPS

ROWS = [
    {"path": "waltz.ogg", "title": 'A "waltz", slow', "genres": ["waltz", "folk"], "truth": {"tempo": 90}},
    {"path": "sub/tängo.ogg", "artist": "Nobody\nat all", "year": "1931", "tags": ["sad"]},
]
MUSICCAPS = """ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_audioset_eval
-0Gj8-vB1q4,30,40,"/m/0140xf","['soft voice', ""piano's melody""]","A slow song, with a piano.",4,True
"""
MAGNATAGATUNE = (
    '"clip_id"\t"no voice"\t"harp"\t"rock"\t"mp3_path"\n"2"\t"1"\t"1"\t"0"\t"f/some_band-01-tune-30-59.mp3"\n'
)
CLIP_INFO = (
    '"clip_id"\t"title"\t"artist"\t"album"\t"mp3_path"\n'
    '"2"\t"Tune"\t"Some Band"\t"Songs"\t"f/some_band-01-tune-30-59.mp3"\n'
)
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
FMA = """,album,album,artist,set,track,track,track,track,track,track
,date_released,title,name,split,genre_top,genres,genres_all,license,tags,title
track_id,,,,,,,,,,
2,2009-01-05 00:00:00,A Way,AWOL,training,Hip-Hop,[21],"[21, 5]",CC BY-NC-SA 3.0,"['loud', 'live']",Food
"""
FMA_GENRES = "genre_id,#tracks,parent,title,top_level\n21,12693,0,Hip-Hop,21\n5,5723,0,Classical,5\n"
JAMENDO = (
    "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
    "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\tinstrument---bass\t"
    "mood/theme---calm\n"
)
JAMENDO_META = (
    "TRACK_ID\tARTIST_ID\tALBUM_ID\tTRACK_NAME\tARTIST_NAME\tALBUM_NAME\tRELEASEDATE\tURL\n"
    "track_0000214\tartist_000014\talbum_000031\tUn Air\tLe Groupe\tDisque\t2004-12-01\thttp://jamen.do/214\n"
)


def music(folder: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(sorted(CLIPS.glob("*.ogg"))[number], folder / name)
    return folder


def joined(tmp_path: Path, known: Path, *names: str) -> list[Track]:
    source = music(tmp_path / "music", *names)
    output = tmp_path / "m.jsonl"
    arguments = ["--source", str(source), "--metadata", str(known), "--output", str(output), "--workers", "1"]
    assert main(["manifest", *arguments]) == 0
    return read_manifest(output)


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_a_table_of_ones_own_is_joined_in_any_form(kind: str, tmp_path: Path) -> None:
    known = tmp_path / f"known.{kind}"
    if kind == "jsonl":
        known.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    elif kind == "parquet":
        flat = [{**row, "truth": json.dumps(row.get("truth", {}))} for row in ROWS]
        names = ("path", "title", "artist", "year", "genres", "tags", "truth")
        table = pyarrow.table({name: [row.get(name) for row in flat] for name in names})
        pyarrow.parquet.write_table(table, known)
    else:
        mark = "," if kind == "csv" else "\t"
        cells = [
            ["path", "title", "artist", "year", "genres", "tags", "truth"],
            ["waltz.ogg", '"A ""waltz"", slow"', "", "", "waltz; folk", "", '"{""tempo"": 90}"'],
            ["sub/tängo.ogg", "", '"Nobody\nat all"', "1931", "", "sad", ""],
        ]
        known.write_text("".join(mark.join(row) + "\n" for row in cells), encoding="utf-8-sig")
    waltz, tango = sorted(
        joined(tmp_path, known, "waltz.ogg", "sub/tängo.ogg"), key=lambda track: track.source, reverse=True
    )
    assert (waltz.title, waltz.genres, waltz.truth) == ('A "waltz", slow', ("waltz", "folk"), {"tempo": 90})
    assert (tango.artist, tango.year, tango.tags) == ("Nobody\nat all", "1931", ("sad",))


def test_musiccaps(tmp_path: Path) -> None:
    (tmp_path / "musiccaps-public.csv").write_text(MUSICCAPS)
    (track,) = joined(tmp_path, tmp_path / "musiccaps-public.csv", "[-0Gj8-vB1q4]-[30-40].ogg")
    assert track.descriptions == ("A slow song, with a piano.",)
    assert track.tags == ("soft voice", "piano's melody")
    assert track.source == "https://www.youtube.com/watch?v=-0Gj8-vB1q4&t=30"


def test_magnatagatune(tmp_path: Path) -> None:
    (tmp_path / "annotations_final.csv").write_text(MAGNATAGATUNE)
    (tmp_path / "clip_info_final.csv").write_text(CLIP_INFO)
    known = tmp_path / "annotations_final.csv"
    (track,) = joined(tmp_path, known, "f/some_band-01-tune-30-59.ogg")
    assert (track.tags, track.title, track.artist) == (("no voice", "harp"), "Tune", "Some Band")
    (tmp_path / "clip_info_final.csv").unlink()
    (row,) = Annotations(known)
    assert (row.key, row.fields) == ("some_band-01-tune-30-59", {"tags": ("no voice", "harp")})


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


def test_song_describer_keeps_its_captions(tmp_path: Path) -> None:
    """Its rows name 00/1004000.mp3, and its files are 00/1004000.2min.mp3; each has several captions."""
    table = tmp_path / "song_describer.csv"
    table.write_text(
        "caption_id,track_id,caption,is_valid_subset,familiarity,artist_id,album_id,path,duration\n"
        '1,1004000,"A slow song, with a piano.",True,0,1,2,00/1004000.mp3,120.0\n'
        "2,1004000,Sad piano.,True,0,1,2,00/1004000.mp3,120.0\n"
    )
    (track,) = joined(tmp_path, table, "00/1004000.2min.ogg")
    assert track.descriptions == ("A slow song, with a piano.", "Sad piano.")


def test_fma(tmp_path: Path) -> None:
    (tmp_path / "tracks.csv").write_text(FMA)
    (tmp_path / "genres.csv").write_text(FMA_GENRES)
    (track,) = joined(tmp_path, tmp_path / "tracks.csv", "fma_small/000/000002.ogg")
    assert (track.title, track.artist, track.album) == ("Food", "AWOL", "A Way")
    assert (track.year, track.licence) == ("2009", "CC BY-NC-SA 3.0")
    assert (track.genres, track.tags) == (("hip-hop", "classical"), ("loud", "live"))


def test_jamendo(tmp_path: Path) -> None:
    (tmp_path / "autotagging.tsv").write_text(JAMENDO)
    (tmp_path / "raw.meta.tsv").write_text(JAMENDO_META)
    (track,) = joined(tmp_path, tmp_path / "autotagging.tsv", "14/214.low.ogg")
    assert (track.title, track.artist, track.album, track.year) == ("Un Air", "Le Groupe", "Disque", "2004")
    assert (track.genres, track.tags) == (("punkrock",), ("bass", "calm"))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("-0Gj8-vB1q4.wav", "-0Gj8-vB1q4"),
        ("a/[-0Gj8-vB1q4]-[30-40].wav", "-0Gj8-vB1q4"),
        ("Y-0Gj8-vB1q4.wav", "-0Gj8-vB1q4"),
        ("-0Gj8-vB1q4_30.000_40.000.flac", "-0Gj8-vB1q4"),
        ("fma_small/000/000002.mp3", "000002"),
        ("14/214.low.mp3", "214"),
        ("a/b.flac", "b"),
        ("Mr. X - Song [dQw4w9WgXcQ].opus", "dQw4w9WgXcQ"),
        ("Song-dQw4w9WgXcQ.m4a", "dQw4w9WgXcQ"),
    ],
)
def test_the_ways_in_which_files_are_named(name: str, key: str) -> None:
    assert key in keys_of(name)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("x.csv", "path,genres\n", None),
        ("x.csv", "title\nno path\n", "no 'path'"),
        ("x.csv", "path,truth\na.ogg,{\n", "'truth'"),
        ("x.csv", b"path\n\xff\xfe\n", "cannot be read"),
        ("x.parquet", "no parquet", "cannot be read"),
        ("x.jsonl", "[1]\n", "not a JSON object"),
        ("x.csv", MUSICCAPS.replace("['soft", "[soft"), "MusicCaps again"),
    ],
)
def test_damaged_tables_are_refused_with_a_sentence(
    name: str, text: str | bytes, reason: str | None, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(text.encode() if isinstance(text, str) else text)
    if reason is None:
        assert list(Annotations(tmp_path / name)) == []
        return
    with pytest.raises(InputError, match=reason) as error:
        list(Annotations(tmp_path / name))
    assert "\n" not in str(error.value)
