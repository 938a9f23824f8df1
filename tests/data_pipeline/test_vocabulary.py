"""The command vocabulary: answers of a language model become captions, by a real server and a tiny model."""

from __future__ import annotations

import csv
import json
import os
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
from data_pipeline.captions.vocabulary.raters import read_raters
from data_pipeline.captions.vocabulary.songs import read_songs
from data_pipeline.captions.vocabulary.table import read_texts
from data_pipeline.captions.vocabulary.writer import LocalWriter
from lightning_n2m.errors import InputError

REPLY = "A slow waltz for solo piano with a gentle melody. I love it. Released in 1999 by a band."


class Server:
    """An OpenAI-compatible server: it answers, fails as often as it should, or sends given bytes."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict, str | None]] = []
        self.failures: list[int] = []
        self.key: str | None = None
        self.last = 10**9  # Requests after which it fails.
        self.location: str | None = None  # Where it redirects to.
        self.body: bytes | None = None  # What it sends instead of an answer.

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
                data = data if outer.body is None else outer.body
                self.send_response(status)
                if outer.location:
                    self.send_header("Location", outer.location)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self) -> None:
                outer.requests.append(({}, self.headers["Authorization"]))
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


def running() -> Iterator[Server]:
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


server, other_server = (pytest.fixture(running, name=name) for name in ("server", "other_server"))


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


def test_an_endpoint_gets_one_request_for_each_song(
    vocabulary, server: Server, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    server.key = "secret"
    assert vocabulary("--key", "MY_KEY") == 0
    queries = sorted(body["messages"][-1]["content"].removeprefix(PREFIX) for body, _ in server.requests)
    assert queries == ['"Blue, Moon" by Ann:', '"Hymn" by an unknown artist:', '"Tango" by Bob:']
    rows = pyarrow.parquet.read_table(tmp_path / "v.parquet").to_pylist()
    assert [(row["text"], row["vocabulary"]) for row in rows] == [
        ("A slow waltz for solo piano with a gentle melody.", "lm-lf")
    ]
    assert '"Blue, Moon" by Ann' in rows[0]["origin"]
    output = capsys.readouterr().out
    assert "2  repetition" in output
    assert "too short" in output
    assert "secret" not in (tmp_path / "v.answers.jsonl").read_text()


def test_transient_errors_are_retried(server: Server, monkeypatch) -> None:
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
    output = capsys.readouterr().err.strip().splitlines()[-1]
    assert server.url in output
    assert "kept" in output
    assert not (tmp_path / "v.parquet").exists()
    assert len((tmp_path / "v.answers.jsonl").read_text().splitlines()) == 1
    with (tmp_path / "v.answers.jsonl").open("a") as file:
        file.write('{"writer": "half a li')  # as a kill would leave it
    server.last = 10**9
    before = len(server.requests)
    assert vocabulary() == 0
    assert len(server.requests) == before + 2


def test_a_missing_server_is_one_line(tmp_path: Path, songs: Path, capsys, monkeypatch) -> None:
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
    output = capsys.readouterr().err
    assert "127.0.0.1:9" in output
    assert "Traceback" not in output


def test_a_wrong_key_stops_at_once_and_the_message_names_its_variable(
    vocabulary, server: Server, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("MY_KEY", "wrong")
    server.key = "right"
    assert vocabulary("--key", "MY_KEY") == 2
    output = capsys.readouterr().err
    assert "MY_KEY" in output
    assert "wrong" not in output
    assert len(server.requests) <= 4


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_no_redirect_is_followed(
    vocabulary, server: Server, other_server: Server, monkeypatch, capsys, status: int, elsewhere: bool
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    server.failures = [status] * 3
    server.location = f"{(other_server if elsewhere else server).url}/chat/completions?secret\x1b[2J"
    assert vocabulary() == 2
    output = capsys.readouterr().err
    assert "redirects" in output
    assert "secret" not in output
    assert not other_server.requests
    assert len(server.requests) <= 3


@pytest.mark.parametrize(
    "key", ["sec\x1bret", "sec\nret", "sec\rret", "sec ret", "s\u00e9cret", "sec\u202eret"]
)
def test_a_key_that_no_header_can_hold_is_never_printed(
    vocabulary, server: Server, monkeypatch, capsys, key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    assert vocabulary("--key", "MY_KEY") == 2
    captured = capsys.readouterr()
    assert "MY_KEY" in captured.err
    for part in ("sec", "ret", "\x1b"):
        assert part not in captured.err + captured.out
    assert not server.requests


def test_a_key_with_a_line_break_at_its_end_is_used(vocabulary, server: Server, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret\n")
    server.key = "secret"
    assert vocabulary() == 0


@pytest.mark.parametrize(
    "url",
    ["https://me:hidden@host/v1", "https://hidden@host/v1", "https://host/v1?key=hidden", "http://h/#hidden"],
)
def test_a_url_with_secrets_is_refused_and_stored_nowhere(
    songs: Path, tmp_path: Path, capsys, url: str
) -> None:
    given = [
        "--songs",
        str(songs),
        "--endpoint",
        url,
        "--model",
        "m",
        "--output",
        str(tmp_path / "v.parquet"),
    ]
    assert main(["vocabulary", *given]) == 2
    captured = capsys.readouterr()
    assert "OPENAI_API_KEY" in captured.err
    assert "hidden" not in captured.err + captured.out
    assert not [path for path in tmp_path.iterdir() if path != songs]


def answer(content: object) -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


BODIES = {
    "empty": b"",
    "no JSON": b"\x1b[2Jsecret",
    "a list": b"[]",
    "a number": b"1" * 10_000,
    "deep": b"[" * 500_000,
    "deep objects": b'{"a":' * 100_000,
    "no choices": b'{"choices": []}',
    "no message": b'{"choices": [{"message": "secret"}]}',
    "null": answer(None),
    "an object": answer({"secret": 1}),
    "long": answer("secret " * 10_000),
    "large": b" " * 2_000_000 + answer("A waltz."),
    "not UTF-8": b'{"choices": "\xff"}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_an_answer_of_another_shape_is_one_line(
    vocabulary, server: Server, tmp_path: Path, monkeypatch, capsys, body: bytes
) -> None:
    monkeypatch.setattr("data_pipeline.captions.vocabulary.endpoint.PAUSE", 0.001)
    server.body = body
    assert vocabulary() == 2
    output = capsys.readouterr().err.strip().splitlines()
    assert server.url in output[-1]
    assert "answer" in output[-1]
    assert "secret" not in "\n".join(output)
    assert "\x1b" not in "\n".join(output)
    assert not (tmp_path / "v.parquet").exists()


def test_half_a_surrogate_pair_in_an_answer_is_stored(server: Server, vocabulary, tmp_path: Path) -> None:
    server.body = answer("A slow waltz for solo piano \ud800 with a melody.")
    assert vocabulary() == 2  # No sentence is kept, so there is no vocabulary.
    lines = (tmp_path / "v.answers.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3


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


def test_the_cached_prefix_changes_no_answer(model: Path) -> None:
    """Neither the cached keys and values of the prefix nor padding on the left."""
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
def test_a_model_without_its_parts_is_one_line(
    model: Path, tmp_path: Path, songs: Path, capsys, lost: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file in model.iterdir():
        if file.name != lost:
            (folder / file.name).write_bytes(file.read_bytes())
    arguments = ["--songs", str(songs), "--model", str(folder)]
    assert main(["vocabulary", "--output", str(tmp_path / "v.parquet"), *arguments]) == 2
    output = capsys.readouterr().err.strip().splitlines()
    assert str(folder) in output[-1]
    assert "Traceback" not in "\n".join(output)


def test_captions_of_raters_are_split_into_sentences_and_aspects(tmp_path: Path) -> None:
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
    output = capsys.readouterr().err.strip().splitlines()
    assert names in output[-1]
    assert output[-1].endswith(".")
    assert not Path("v.parquet").exists()


def test_a_fifo_is_no_vocabulary_and_does_not_block(tmp_path: Path, songs: Path) -> None:
    fifo = tmp_path / "fifo.csv"
    os.mkfifo(fifo)
    for read in (read_texts, read_raters, read_songs):
        with pytest.raises(InputError, match="no regular file"):
            read(fifo)
