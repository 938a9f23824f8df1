"""Vocabularies: what a language model says becomes captions, over a real server and a real tiny model."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data_pipeline.__main__ import main
from data_pipeline.captions.vocabulary.endpoint import EndpointWriter
from data_pipeline.captions.vocabulary.examples import PREFIX, Song
from data_pipeline.captions.vocabulary.sentences import clean, fault, split
from data_pipeline.captions.vocabulary.table import Caption, read_texts, unique, write_table
from data_pipeline.captions.vocabulary.writer import LocalWriter
from lightning_n2m.errors import InputError

REPLY = "A slow waltz for solo piano with a gentle melody. I love it. Released in 1999 by a band."


class Server:
    """An OpenAI-compatible server: it answers, or fails as often as it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict, str | None]] = []
        self.failures: list[int] = []
        self.key: str | None = None
        self.last = 10**9  # Requests after which it dies.

        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((body, self.headers["Authorization"]))
                status = 200
                if outer.key and self.headers["Authorization"] != f"Bearer {outer.key}":
                    status = 401
                elif len(outer.requests) > outer.last:
                    status = 500
                elif outer.failures:
                    status = outer.failures.pop()
                song = body["messages"][-1]["content"].splitlines()[-1]
                answer = {"choices": [{"message": {"content": f"{REPLY} {song}"}}]}
                data = json.dumps(answer if status == 200 else {"error": "no"}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    path = tmp_path / "songs.csv"
    path.write_text('title,artist\n"Blue, Moon",Ann\nHymn,\nHymn,\nTango,Bob\n', encoding="utf-8")
    return path


@pytest.fixture
def vocabulary(tmp_path: Path, songs: Path, server: Server) -> Callable[..., int]:
    def run(*more: str) -> int:
        given = ["--songs", str(songs), "--endpoint", server.url, "--model", "m", "--rate", "60000"]
        return main(["vocabulary", "--output", str(tmp_path / "v.parquet"), *given, *more])

    return run


def test_an_endpoint_is_asked_once_about_each_song(
    vocabulary, server: Server, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    server.key = "secret"
    assert vocabulary("--key", "MY_KEY") == 0
    asked = sorted(body["messages"][-1]["content"].removeprefix(PREFIX) for body, _ in server.requests)
    assert asked == ['"Blue, Moon" by Ann:', '"Hymn" by an unknown artist:', '"Tango" by Bob:']
    rows = pyarrow.parquet.read_table(tmp_path / "v.parquet").to_pylist()
    assert [(row["text"], row["vocabulary"]) for row in rows] == [
        ("A slow waltz for solo piano with a gentle melody.", "lm-lf")
    ]
    assert '"Blue, Moon" by Ann' in rows[0]["origin"]
    said = capsys.readouterr().out
    assert "2  repetition" in said
    assert "too short" in said
    assert "secret" not in (tmp_path / "v.answers.jsonl").read_text()


def test_what_passes_is_tried_again(server: Server, monkeypatch) -> None:
    monkeypatch.setattr("data_pipeline.captions.vocabulary.endpoint.PAUSE", 0.01)
    server.failures = [429, 503]
    writer = EndpointWriter(server.url, "m", rate=60_000)
    assert [number for number, _ in writer.write([Song("A"), Song("B")])] in ([0, 1], [1, 0])
    assert len(server.requests) == 4


def test_a_dead_endpoint_loses_nothing(
    vocabulary, server: Server, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr("data_pipeline.captions.vocabulary.endpoint.PAUSE", 0.01)
    server.last = 1
    assert vocabulary() == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert server.url in said
    assert "kept" in said
    assert not (tmp_path / "v.parquet").exists()
    assert len((tmp_path / "v.answers.jsonl").read_text().splitlines()) == 1
    with (tmp_path / "v.answers.jsonl").open("a") as file:
        file.write('{"writer": "half a li')  # as a kill would leave it
    server.last = 10**9
    before = len(server.requests)
    assert vocabulary() == 0
    assert len(server.requests) == before + 2


def test_a_server_that_is_not_there_is_one_sentence(tmp_path: Path, songs: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("data_pipeline.captions.vocabulary.endpoint.PAUSE", 0.01)
    arguments = [
        "--songs",
        str(songs),
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--model",
        "m",
        "--rate",
        "60000",
    ]
    assert main(["vocabulary", "--output", str(tmp_path / "v.parquet"), *arguments]) == 2
    said = capsys.readouterr().err
    assert "127.0.0.1:9" in said
    assert "Traceback" not in said


def test_a_wrong_key_ends_at_once_and_names_its_variable(
    vocabulary, server: Server, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MY_KEY", "wrong")
    server.key = "right"
    assert vocabulary("--key", "MY_KEY") == 2
    said = capsys.readouterr().err
    assert "MY_KEY" in said
    assert "wrong" not in said
    assert len(server.requests) <= 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model of a real class, tiny and untrained."""
    folder = tmp_path_factory.mktemp("model")
    words = ["<unk>", "<end>", *dict.fromkeys(PREFIX.split()), "\n"]
    rules = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, "<unk>"))
    rules.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=rules, unk_token="<unk>", eos_token="<end>").save_pretrained(
        folder
    )
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(words),
            hidden_size=32,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=2048,
            eos_token_id=1,
            bos_token_id=1,
        )
    ).save_pretrained(folder)
    return folder


def test_examples_read_once_are_examples_read_each_time(model: Path) -> None:
    """The kept cache of the prefix and the filling on the left change nothing of what is said."""
    songs = [Song("A slow waltz", "Big Lem"), Song("Night"), Song("Blue Kitchen led by bright drums", "Mina")]
    writer = LocalWriter(str(model), batch=3, tokens=6, temperature=1e-4)
    answers = [text for _, text in writer.write(songs)]
    tokenizer = writer._tokenizer
    for song, answer in zip(songs, answers, strict=True):
        whole = tokenizer(PREFIX + f"{song.line}:", return_tensors="pt", add_special_tokens=False)
        with torch.inference_mode():
            alone = writer._model.generate(**whole, max_new_tokens=6, do_sample=False, pad_token_id=1)
        expected = tokenizer.decode(alone[0, whole["input_ids"].shape[1] :], skip_special_tokens=True)
        assert answer == expected


@pytest.mark.parametrize("lost", ["model.safetensors", "tokenizer.json"])
def test_a_model_without_its_parts_is_one_sentence(
    model: Path, tmp_path: Path, songs: Path, capsys, lost: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model.iterdir():
        if file.name != lost:
            (folder / file.name).write_bytes(file.read_bytes())
    arguments = ["--songs", str(songs), "--model", str(folder)]
    assert main(["vocabulary", "--output", str(tmp_path / "v.parquet"), *arguments]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert str(folder) in said[-1]
    assert "Traceback" not in "\n".join(said)


@pytest.mark.parametrize(
    ("sentence", "reason"),
    [
        ("A slow waltz for solo piano with a gentle melody.", None),
        ("The mood is dark and despairing, and the tempo is slow.", None),
        ("The music is loud and heavy with a strong beat.", None),
        ("A slow waltz.", "too short"),
        ("A slow waltz for piano with a melody that", "unfinished"),
        ("The cat sat on the old mat in the kitchen.", "not on music"),
        ("I think the piano and the drums are lovely.", "not on how it sounds"),
        ("This jazz song was released in 1987 with piano.", "not on how it sounds"),
        ("A jazz song called Blue Moon with piano and drums.", "names the song"),
        ("A piano over a piano over a piano with drums.", "repeats itself"),
        ("Ein Walzer für Klavier, très doux, with piano and drums.", "strange characters"),
        (" ".join(["piano", *["x"] * 40]) + ".", "too long"),
    ],
)
def test_only_sentences_on_how_music_sounds_are_kept(sentence: str, reason: str | None) -> None:
    assert fault(sentence, Song("Blue Moon", "Ann")) == reason


def test_only_the_first_paragraph_is_an_answer() -> None:
    assert split(" A waltz. With drums!\n\nThese are examples.") == ["A waltz.", "With drums!"]


def test_the_examples_themselves_are_no_captions() -> None:
    copied = "A relaxed swing jazz tune for piano, double bass and brushed drums."
    result = clean([(Song("x"), copied), (Song("y"), "A quiet jazz tune for piano and brushed drums.")])
    assert [caption.text for caption in result.captions] == ["A quiet jazz tune for piano and brushed drums."]
    assert result.heard == result.dropped.total() + len(result.captions)


def test_raters_become_sentences_and_aspects(tmp_path: Path) -> None:
    path = tmp_path / "captions.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ytid", "caption", "aspect_list"])
        first = "A male singer sings. The tempo is 4.5 times slower. Nice."
        rows.writerow(["a", first, str(["male singer", "80's pop"])])
        rows.writerow(["b", "A male singer sings.", str(["Male Singer", "sad"])])
    output = tmp_path / "v.parquet"
    assert main(["vocabulary", "--output", str(output), "--musiccaps", str(path)]) == 0
    found = {part.vocabulary: part.texts for part in read_texts(output)}
    assert found == {
        "rater-lf": ("A male singer sings.", "The tempo is 4.5 times slower.", "Nice."),
        "rater-sf": ("male singer", "80's pop", "sad"),
    }


def test_tag_lists_come_without_repetitions(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("theremin\n\nPiano\n")
    output = tmp_path / "v.parquet"
    tags = f"general-midi,styles,moods,mtt,msd,{tmp_path / 'mine.txt'}"
    assert main(["vocabulary", "--output", str(output), "--tags", tags]) == 0
    (texts,) = read_texts(output)
    folded = [text.casefold() for text in texts.texts]
    assert len(folded) == len(set(folded))
    assert {"theremin", "bossa nova", "electric piano", "sitar", "melancholic", "indie rock"} <= set(folded)


def test_equal_captions_of_two_vocabularies_both_stay() -> None:
    captions = [
        Caption("Slow.", "rater-lf", "a"),
        Caption("slow", "rater-sf", "b"),
        Caption("Slow", "rater-sf", "c"),
    ]
    assert [item.origin for item in unique(captions)] == ["a", "b"]


def test_a_table_written_twice_has_the_same_bytes(tmp_path: Path) -> None:
    captions = [Caption(f"a {i}", "rater-sf", "x") for i in range(50)]
    for name in ("a", "b"):
        write_table(tmp_path / name, captions)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert [part.fingerprint for part in read_texts(tmp_path / "a")] != [
        part.fingerprint for part in read_texts(_written(tmp_path / "c", captions[::-1]))
    ]


def _written(path: Path, captions: list[Caption]) -> Path:
    write_table(path, captions)
    return path


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ("", "--songs"),
        ("--songs nowhere.csv", "nowhere.csv"),
        ("--songs empty.csv", "empty.csv"),
        ("--musiccaps empty.csv", "ytid"),
        ("--musiccaps wrong.csv", "wrong.csv"),
        ("--tags nonsense", "nonsense"),
        ("--tags moods --rate 0", "--rate 0"),
        ("--songs songs.csv --endpoint host", "--endpoint host"),
        ("--songs songs.csv --model ./nowhere", "./nowhere"),
        ("--songs songs.csv --model package:nowhere/x.gguf", "package nowhere"),
    ],
)
def test_wrong_input(arguments: str, names: str, songs: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty.csv").write_text("a,b\n")
    Path("wrong.csv").write_text('ytid,caption,aspect_list\na,b,"[broken"\n')
    assert main(["vocabulary", "--output", "v.parquet", *arguments.split()]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert names in said[-1]
    assert said[-1].endswith(".")
    assert not Path("v.parquet").exists()


def test_a_file_that_is_no_vocabulary_is_refused(tmp_path: Path) -> None:
    (tmp_path / "v.parquet").write_text("text")
    for path in (tmp_path / "v.parquet", tmp_path / "nowhere.parquet"):
        with pytest.raises(InputError, match=path.name):
            read_texts(path)
