"""Wrong URLs and servers are refused in one line."""

from __future__ import annotations

import socket
import threading

import pytest

from data_pipeline.captions.vocabulary.endpoint import EndpointWriter
from data_pipeline.captions.vocabulary.examples import Song
from lightning_n2m.errors import InputError


@pytest.mark.parametrize(
    "url", ["host", "ftp://host/v1", "http://", "http://[::1/v1", "http://h:x/", "http://a b/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(InputError, match=r"https://host/v1") as error:
        EndpointWriter(url, "m")
    assert "\n" not in str(error.value)


def test_a_server_that_speaks_no_http_is_one_line(monkeypatch) -> None:
    monkeypatch.setattr("data_pipeline.captions.vocabulary.endpoint.PAUSE", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                connection.recv(65_536)
                connection.sendall(b"SSH-2.0 \x1b[2J\r\n")
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        writer = EndpointWriter(f"http://127.0.0.1:{listener.getsockname()[1]}/v1", "m", rate=60_000, tries=2)
        with pytest.raises(InputError, match="no HTTP: BadStatusLine"):
            list(writer.write([Song("A")]))
