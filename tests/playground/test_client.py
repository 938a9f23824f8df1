"""gradio_client against the running server: names of the API, many clients, refused values."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from gradio_client.utils import QueueError, Status

from lightning_n2m.audio.io import probe, write
from tests.playground.conftest import MAX_QUEUE

pytestmark = pytest.mark.slow
ARGUMENTS = [
    "prompt",
    "negative",
    "seconds",
    "seed",
    "guidance",
    "steps",
    "variations",
    "route",
    "bpm",
    "key",
    "mode",
    "extend",
    "regions",
    "strength",
    "adapters",
    "adapter_strength",
    "recording",
]
MEMORY = 3 * 2**30


def wait_for(condition: Callable[[], bool], seconds: float = 300) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture(scope="module")
def client(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Client:
    # On a busy machine a server that samples may answer later than the 5 s that httpx waits.
    downloads = tmp_path_factory.mktemp("downloads")
    return Client(server.url, verbose=False, download_files=downloads, httpx_kwargs={"timeout": 60})


def test_names_and_arguments_of_the_api_stay(client: Client) -> None:
    endpoints = client.view_api(return_format="dict")["named_endpoints"]
    assert set(endpoints) == {"/generate"}
    parameters = endpoints["/generate"]["parameters"]
    assert [parameter["parameter_name"] for parameter in parameters] == ARGUMENTS
    assert all(parameter["parameter_has_default"] for parameter in parameters)


def test_twenty_clients_at_once_get_their_music(client: Client, server: Any, tmp_path: Path) -> None:
    client.predict(prompt="a hymn", seconds=0.5, steps=1, api_name="/generate")
    before = server.peak_memory()
    with ThreadPoolExecutor(20) as pool:
        clients = list(
            pool.map(lambda n: Client(server.url, verbose=False, download_files=tmp_path), range(20))
        )
    jobs = [
        each.submit(prompt=f"a hymn {n}", seed=n, seconds=0.5, steps=1, api_name="/generate")
        for n, each in enumerate(clients)
    ]
    with ThreadPoolExecutor(20) as pool:
        results = list(pool.map(lambda job: job.result(timeout=600), jobs))
    for n, (files, manifest, command, *_) in enumerate(results):
        sound, lines = map(Path, files)
        assert probe(sound).frames == 12_000 and lines.name == "manifest.jsonl"
        assert f'"prompt": "a hymn {n}"' in manifest and f"--model.seed {n}" in command
    assert server.peak_memory() - before < 200e6
    assert server.peak_memory() < MEMORY


def test_a_full_queue_refuses_and_cancelled_jobs_leave_it(client: Client) -> None:
    running = client.submit(prompt="a hymn", seconds=5, steps=1000, api_name="/generate")
    wait_for(lambda: running.status().code in (Status.PROCESSING, Status.ITERATING))
    jobs = [
        client.submit(prompt="a hymn", seconds=5, steps=1000, api_name="/generate")
        for _ in range(MAX_QUEUE + 10)
    ]
    try:
        # All but as many as the queue holds end at once, refused.
        wait_for(lambda: sum(job.done() for job in jobs) >= 10)
        errors = [job.exception() for job in jobs if job.done()]
        assert [str(error) for error in errors] == 10 * ["Queue is full! Please try again."]
        assert all(isinstance(error, QueueError) for error in errors)
    finally:
        for job in [*jobs, running]:
            job.cancel()
    client.predict(prompt="a hymn", seconds=0.5, steps=1, api_name="/generate")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": " "}, "prompt is empty"),
        ({"seconds": 1e9}, "greater than maximum value 60"),
        ({"steps": 10**9}, "steps is 1e\\+09; give a number from 1 to 1000"),
        ({"key": "../x"}, "not in the list of choices"),
    ],
)
def test_wrong_values_are_refused_in_one_line(client: Client, changes: dict, message: str) -> None:
    with pytest.raises((AppError, ValueError), match=message) as refused:
        client.predict(**{"prompt": "a hymn", **changes}, api_name="/generate")
    assert "\n" not in str(refused.value)


def test_a_recording_is_continued(client: Client, tmp_path: Path) -> None:
    path = write(tmp_path / "song.wav", 0.1 * torch.randn(1, 48_000).clamp(-3, 3), 24_000)
    files, manifest, command, *_ = client.predict(
        prompt="", mode="continue", recording=handle_file(path), extend=1, steps=1, api_name="/generate"
    )
    assert probe(files[0]).frames == 72_000
    assert '"extend": 1.0' in manifest and "--data.extend=1" in command
    text = tmp_path / "text.wav"
    text.write_text("no audio")
    with pytest.raises(AppError, match=r"text\.wav cannot be decoded by ffmpeg") as refused:
        client.predict(prompt="", mode="vary", recording=handle_file(text), api_name="/generate")
    assert "/" not in str(refused.value) and "\n" not in str(refused.value)


def test_the_server_fetches_no_url(client: Client) -> None:
    file = {"path": "http://127.0.0.1:9/song.wav", "meta": {"_type": "gradio.FileData"}}
    with pytest.raises(AppError, match="given by a URL; upload the file"):
        client.predict(prompt="", mode="vary", recording=file, api_name="/generate")


def test_an_upload_of_two_gigabytes_is_refused_before_it_is_sent(server: Any) -> None:
    connection = HTTPConnection(server.url.split("/")[2], timeout=60)
    connection.putrequest("POST", "/gradio_api/upload")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(2 * 2**30))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.read() == b"The upload is too large; give a file of at most 20 MB.\n"
    connection.close()
