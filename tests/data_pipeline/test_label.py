"""embed and label on real clips: nothing lost, nothing that depends on how the work was done."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from data_pipeline.__main__ import main
from data_pipeline.captions.embeddings import open_embeddings
from data_pipeline.captions.labelling.draw import draw
from data_pipeline.captions.vocabulary.table import Caption, read_texts, write_table
from lightning_n2m.data.clip_decoder import ClipDecoder
from lightning_n2m.data.schema import read_captions, read_index
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.errors import InputError
from lightning_n2m.mulan.bundle import build_towers
from lightning_n2m.mulan.feature_cache import decode_audio
from lightning_n2m.mulan.joint import embed_clips
from lightning_n2m.mulan.loading import load_joint
from tests.data_pipeline.conftest import tree
from tests.paths import ROOT

CONFIG = ROOT / "pretrained" / "mulan" / "config.yaml"


KINDS = ("waltz", "tango", "hymn", "techno track", "polka", "blues", "reggae song", "folk tune")


PLAYERS = ("piano", "violin", "accordion", "flute", "drums", "organ", "guitar")


def bundle(folder: Path, seed: int) -> Path:
    """Two towers as the starter's, with untrained projections."""
    model = yaml.safe_load(CONFIG.read_text())["model"]
    torch.manual_seed(seed)
    towers = build_towers(model)
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": model}))
    save_file({k: v.contiguous() for k, v in towers.state_dict().items()}, folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("joint") / "mulan", 0)


@pytest.fixture(scope="module")
def made(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of clips of ten seconds."""
    output = tmp_path_factory.mktemp("shards")
    cut = ["--clip-seconds", "10", "--clips-per-track", "2", "--tracks-per-shard", "2"]
    assert main(["shard", "--manifest", str(manifest), "--output", str(output), "--workers", "1", *cut]) == 0
    return output


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("words") / "vocabulary.parquet"
    captions = [
        Caption(f"A slow {kind} with {player}.", "lm-lf", "x") for kind in KINDS for player in PLAYERS
    ]
    captions += [Caption(f"The {player} is loud.", "rater-lf", "x") for player in (*PLAYERS, *KINDS)]
    captions += [Caption(word, "rater-sf", "x") for word in (*KINDS, *PLAYERS)]
    write_table(path, captions)
    return path


@pytest.fixture(scope="module")
def embedded(made: Path, joint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("embedded") / "embeddings"
    given = ["--shards", str(made), "--joint", str(joint), "--output", str(output)]
    assert main(["embed", *given, "--workers", "1"]) == 0
    return output


@pytest.fixture
def place(made: Path, embedded: Path, tmp_path: Path) -> Callable[..., int]:
    """Labels copies of the shards and the embeddings."""
    shutil.copytree(made, tmp_path / "shards")
    shutil.copytree(embedded, tmp_path / "embeddings")

    def label(vocabulary: Path, *more: str, shards: str = "shards", embeddings: str = "embeddings") -> int:
        given = ["--shards", str(tmp_path / shards), "--embeddings", str(tmp_path / embeddings)]
        return main(["label", *given, "--vocabulary", str(vocabulary), *more])

    return label


def labels(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(folder).items() if name.startswith("captions-")}


def test_a_clip_is_embedded_as_the_joint_model_does(made: Path, joint: Path, embedded: Path) -> None:
    model, found = load_joint(str(joint)), open_embeddings(embedded)
    (file, *_) = find_shards([made], "train")
    clips, vectors = found.read_clips(file.shard)
    for raw, clip, vector in zip(read_shard(file), clips, vectors, strict=True):
        assert raw.clip == clip
        expected = embed_clips(model, decode_audio(raw, model.sample_rate))[0]
        assert vector == pytest.approx(expected.numpy(), abs=1e-5)


def test_workers_and_kept_features_change_no_byte(
    made: Path, joint: Path, embedded: Path, tmp_path: Path
) -> None:
    given = ["--shards", str(made), "--joint", str(joint)]
    assert main(["embed", *given, "--output", str(tmp_path / "two"), "--workers", "2"]) == 0
    assert tree(tmp_path / "two") == {
        name: data for name, data in tree(embedded).items() if name.startswith(("clips", "index"))
    }
    kept = ["--features", str(tmp_path / "features"), "--workers", "1"]
    for name in ("first", "again"):
        assert main(["embed", *given, "--output", str(tmp_path / name), *kept]) == 0
    assert tree(tmp_path / "first") == tree(tmp_path / "again")
    for name, data in tree(tmp_path / "first").items():
        if name.endswith(".npy"):
            one, other = np.load(tmp_path / "first" / name), np.load(tmp_path / "two" / name)
            assert np.abs(one - other).max() < 1e-5, data


def test_embedding_again_does_only_what_is_missing(made: Path, joint: Path, embedded: Path, tmp_path) -> None:
    shutil.copytree(embedded, tmp_path / "e")
    files = sorted((tmp_path / "e" / "clips").glob("*.npy"))
    before = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    files[0].unlink()
    given = ["--shards", str(made), "--joint", str(joint), "--output", str(tmp_path / "e"), "--workers", "1"]
    assert main(["embed", *given]) == 0
    after = [(file.stat().st_mtime_ns, file.read_bytes()) for file in files]
    assert after[0][0] != before[0][0]
    assert [data for _, data in after] == [data for _, data in before]
    assert after[1:] == before[1:]


def test_labels_are_drawn_from_the_nearest(place, made: Path, embedded: Path, words: Path, tmp_path) -> None:
    assert place(words, "--seed", "7") == 0
    found = open_embeddings(tmp_path / "embeddings")
    parts = {part.vocabulary: part for part in read_texts(words)}
    shards = [shard for shard in read_index(made).shards if shard.clips]
    vectors = {shard: found.read_clips(shard) for shard in shards}
    expected: dict[str, dict[str, tuple[str, ...]]] = {}
    for name, keep in (("lm-lf", 3), ("rater-sf", 6)):
        texts = parts[name].texts
        captions = np.concatenate([found.read(path) for path in found.captions(parts[name])])
        near = {
            clip.key: np.argsort(-(captions.astype(float) @ vector.astype(float)), kind="stable")[:10]
            for clips, rows in vectors.values()
            for clip, vector in zip(clips, rows, strict=True)
        }
        counts = np.bincount(np.concatenate(list(near.values())), minlength=len(texts))
        expected[name] = {
            key: tuple(
                texts[row[i]]
                for i in draw(7, key, [texts[j] for j in row], [int(counts[j]) for j in row], keep)
            )
            for key, row in near.items()
        }
    for shard in shards:
        for key, item in read_captions(tmp_path / "shards" / shard.captions_name).items():
            assert item.long == expected["lm-lf"][key]
            assert item.short == expected["rater-sf"][key]
    untouched = {n: d for n, d in tree(tmp_path / "shards").items() if not n.startswith("captions-")}
    assert untouched == tree(made)


def test_nothing_but_the_seed_changes_the_labels(place, words: Path, tmp_path: Path, monkeypatch) -> None:
    assert place(words) == 0
    first = labels(tmp_path / "shards")
    assert len(first) > 5
    for number, options in enumerate((["--workers", "2"], ["--search", "faiss"], [])):
        shutil.rmtree(tmp_path / "embeddings" / "nearest")
        if number == 2:
            monkeypatch.setattr("data_pipeline.captions.labelling.units.AT_ONCE", 2)
            monkeypatch.setattr("data_pipeline.captions.labelling.search.CAPTIONS", 5)
        if "faiss" in options:
            pytest.importorskip("faiss")
        assert place(words, *options) == 0
        assert labels(tmp_path / "shards") == first
    assert place(words, "--seed", "1") == 0
    assert labels(tmp_path / "shards") != first


@pytest.mark.slow
def test_ray_labels_as_this_machine_does(place, words: Path, joint: Path, made: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    assert place(words) == 0
    first = labels(tmp_path / "shards")
    given = ["--shards", str(made), "--joint", str(joint), "--output", str(tmp_path / "by_ray")]
    assert main(["embed", *given, "--engine", "ray", "--workers", "1", "--vocabulary", str(words)]) == 0
    assert place(words, "--engine", "ray", "--workers", "1", embeddings="by_ray") == 0
    assert labels(tmp_path / "shards") == first


def test_sentences_of_musiccaps_stay_out_of_training(place, words: Path, tmp_path: Path) -> None:
    texts = {part.vocabulary: set(part.texts) for part in read_texts(words)}

    def long() -> set[str]:
        lines = b"".join(labels(tmp_path / "shards").values()).splitlines()
        return {text for line in lines for text in json.loads(line)["long"]}

    assert place(words, "--mulamcap", str(tmp_path / "release")) == 0
    assert not long() & texts["rater-lf"]
    lines = [json.loads(line) for line in (tmp_path / "release" / "captions.jsonl").read_text().splitlines()]
    assert {name: len(found) for name, found in lines[0]["captions"].items()} == {
        "lm-lf": 3,
        "rater-lf": 3,
        "rater-sf": 6,
    }
    assert lines[0]["end_s"] == lines[0]["start_s"] + 10
    assert "CC0-1.0" in (tmp_path / "release" / "README.md").read_text()
    assert place(words, "--rater-lf", "true") == 0
    assert long() & texts["rater-lf"]


def test_the_report_counts_uses_and_correct_labels(place, words: Path, tmp_path: Path) -> None:
    assert place(words, "--report", str(tmp_path / "report")) == 0
    text = (tmp_path / "report" / "report.md").read_text()
    assert "| 3 of 10, drawn |" in text
    assert "| 3 at random |" in text
    assert text.count("- lm-lf: ") == 20
    assert (tmp_path / "report" / "lm-lf.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "report" / "rater-sf.png").stat().st_size > 5000
    page = (tmp_path / "report" / "index.html").read_text()
    players = re.findall(r'<audio controls preload="none" src="([^"]+)"', page)
    assert len(players) == 20
    assert all((tmp_path / "report" / name).read_bytes()[:4] in (b"fLaC", b"OggS") for name in players)
    assert "<td" in page and "3 of 10, drawn" in page and "3 at random" in page


def refused(code: int, capsys: pytest.CaptureFixture[str], *names: str) -> None:
    output = capsys.readouterr().err.strip().splitlines()
    assert code == 2
    assert all(name in output[-1] for name in names), output
    assert "Traceback" not in "\n".join(output)


def test_embeddings_of_another_model_are_not_mixed(
    made: Path, embedded: Path, joint: Path, words: Path, place, tmp_path: Path, capsys
) -> None:
    other = bundle(tmp_path / "other", 1)
    given = ["--shards", str(made), "--output", str(tmp_path / "embeddings"), "--workers", "1"]
    before = tree(tmp_path / "embeddings")
    refused(main(["embed", *given, "--joint", str(other)]), capsys, "embeddings of two-towers", "--output")
    assert tree(tmp_path / "embeddings") == before
    path = tmp_path / "embeddings" / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "joint": str(other)}))
    refused(place(words), capsys, str(other), "now holds")
    assert not labels(tmp_path / "shards")


def test_captions_of_another_joint_model_are_refused(place, words: Path, tmp_path: Path, capsys) -> None:
    assert place(words) == 0
    before = labels(tmp_path / "shards")
    (file, *_) = sorted((tmp_path / "embeddings" / "captions").rglob("lm-lf*/*.npy"))
    np.save(file, np.zeros((56, 64), np.float32))
    shutil.rmtree(tmp_path / "embeddings" / "nearest")
    refused(place(words), capsys, file.name, "56 x 64")
    assert labels(tmp_path / "shards") == before


@pytest.mark.parametrize("kind", ["clips", "captions/lm-lf*"])
def test_embeddings_that_are_not_finite_are_refused(
    place, words: Path, tmp_path: Path, capsys, kind: str
) -> None:
    assert place(words) == 0
    before = labels(tmp_path / "shards")
    (file, *_) = sorted((tmp_path / "embeddings").glob(f"{kind}/*.npy"))
    vectors = np.load(file)
    vectors[0, 3] = np.nan
    np.save(file, vectors)
    shutil.rmtree(tmp_path / "embeddings" / "nearest")
    refused(place(words, "--seed", "1"), capsys, file.name, "NaN or infinite")
    assert labels(tmp_path / "shards") == before


def test_what_was_not_embedded_is_named(place, words: Path, tmp_path: Path, capsys) -> None:
    refused(place(words, embeddings="nowhere"), capsys, "nowhere", "embed")
    index = read_index(tmp_path / "shards")
    changed = [replace(shard, sha256="0" * 64) for shard in index.shards[:1]]
    path = tmp_path / "shards" / "index.json"
    path.write_text(replace(index, shards=(*changed, *index.shards[1:])).to_json())
    refused(place(words), capsys, index.shards[0].name, "embed")
    assert not labels(tmp_path / "shards")


HOSTILE = "<script>alert(1)</script> [x](javascript:a) ![y](http://evil/p.png) `|` *b*\x1b[2J\n# www.evil.org"


def test_text_of_strangers_is_plain_text_in_report_and_card(
    place, words: Path, embedded: Path, tmp_path: Path
) -> None:
    assert place(words) == 0
    for path in (tmp_path / "embeddings" / "clips").glob("*.jsonl"):
        clips = [json.loads(line) for line in path.read_text().splitlines()]
        for clip in clips:
            clip |= {"title": HOSTILE, "licence": HOSTILE, "descriptions": [HOSTILE]}
            clip["source"] = "https://me:hidden@host/music/a.ogg?token=hidden#hidden"
        path.write_text("".join(json.dumps(clip) + "\n" for clip in clips))
    assert place(words, "--report", str(tmp_path / "r"), "--mulamcap", str(tmp_path / "m")) == 0
    report, card = ((tmp_path / name).read_text() for name in ("r/report.md", "m/README.md"))
    assert "alert" in report
    assert "alert" in card
    for text in (report, card):
        assert not re.search(r"<script|(?<!\\)!\[y|(?<!\\)\]\(j|http://|www\.|javascript:|\x1b", text)
    page = (tmp_path / "r" / "index.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script" not in page and "\x1b" not in page
    lines = (tmp_path / "m" / "captions.jsonl").read_text()
    assert "hidden" not in lines
    assert "https://host/music/a.ogg" in lines


DAMAGES = {
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "header beyond the file": lambda path: path.write_bytes(
        path.read_bytes().replace(b"(3, 128)", b"(9999999999999, 128)").replace(b"'shape': (", b"'shape':(9")
    ),
    "no header": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00v\x00" + b"(" * 118),
    "pickle": lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
    "archive": lambda path: np.savez(path.open("wb"), a=np.ones(3)),
    "float64": lambda path: np.save(path, np.load(path).astype(float)),
    "rows": lambda path: np.save(path, np.load(path)[1:]),
    "infinite": lambda path: np.save(path, np.load(path) * np.inf),
    "folder": lambda path: (path.unlink(), path.mkdir()),
    "no clips": lambda path: path.with_suffix(".jsonl").write_text(""),
    "clips are no JSON": lambda path: path.with_suffix(".jsonl").write_text("{"),
    "clips are nested": lambda path: path.with_suffix(".jsonl").write_text("[" * 100_000),
    "clips are gone": lambda path: path.with_suffix(".jsonl").unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_damaged_embeddings_are_refused_in_one_line(
    made: Path, embedded: Path, tmp_path: Path, damage
) -> None:
    folder = Path(shutil.copytree(embedded, tmp_path / "e"))
    shard = next(shard for shard in read_index(made).shards if shard.clips > 1)
    path = open_embeddings(folder).clips(shard)
    damage(path)
    with pytest.raises(InputError, match=f"{path.stem}|holds no embeddings") as error:
        open_embeddings(folder).read_clips(shard)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "[" * 100_000, '{"format": 1}', '{"format": 1, "joint": 1, "name": "a", "dimension": 3}'],
    ids=range(5),
)
def test_a_damaged_index_of_embeddings_is_refused_in_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(InputError, match=r"index\.json is damaged") as error:
        open_embeddings(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("--top 0", "--top 0"),
        ("--keep 11", "--keep 11"),
        ("--keep-short 4 --top 3", "--keep_short 4"),
        ("--top 500", "fewer than the 500"),
        ("--search annoy", "search"),
        ("--workers 0", "--workers 0"),
    ],
)
def test_wrong_numbers(place, words: Path, tmp_path: Path, capsys, options: str, names: str) -> None:
    refused(place(words, *options.split()), capsys, names)
    assert not labels(tmp_path / "shards")


def test_a_kind_of_captions_that_is_too_small_to_draw_from_is_skipped(
    place, words: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short = [Caption(word, "rater-sf", "x") for word in (*KINDS, *PLAYERS)]
    three = [Caption(f"A {kind} for three.", "lm-lf", "x") for kind in KINDS[:3]]
    write_table(tmp_path / "v.parquet", three + short)
    assert place(tmp_path / "v.parquet") == 0
    assert "Skipped: 3 lm-lf captions, fewer than the 10 nearest" in capsys.readouterr().err
    captions = [
        json.loads(line) for data in labels(tmp_path / "shards").values() for line in data.split(b"\n")[:-1]
    ]
    assert captions and all(item["short"] and not item["long"] for item in captions)


def test_only_rater_lf_is_no_vocabulary_to_train_on(place, tmp_path: Path, capsys) -> None:
    write_table(tmp_path / "v.parquet", [Caption("The piano is loud.", "rater-lf", "x")])
    refused(place(tmp_path / "v.parquet"), capsys, "--rater_lf")


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_training_draws_pseudo_labels_with_the_given_share(
    place, words: Path, tmp_path: Path, share: float
) -> None:
    assert place(words) == 0
    texts = TextBatch(64, lambda text: len(text.split()), share)
    decoder = ClipDecoder(16_000, 1.0, texts)
    raws = [raw for file in find_shards([tmp_path / "shards"], "train") for raw in read_shard(file)]
    known = {text for part in read_texts(words) for text in part.texts}
    drawn = [decoder(raw, number)["caption"] for number, raw in enumerate(raws * 8)]
    labelled = [set(text.split(", ")) <= known for text in drawn]
    own = [raw for raw in raws if raw.clip.descriptions]
    assert own
    assert sum(labelled) / len(labelled) == pytest.approx(share, abs=0.12 if 0 < share < 1 else 0)
