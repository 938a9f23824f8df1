"""Servers on loopback: one that sends files as a test wants it, and one with the endpoints of a model hub."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FileServer:
    """Files by path. `answer`, if set, replaces the answer to a request that it returns True for."""

    files: dict[str, bytes] = field(default_factory=dict)
    etags: bool = True
    ranges: bool = True
    cut_after: int | None = None  # bytes of an answer after which the connection closes
    answer: Callable[[Handler], bool] | None = None
    requests: list[Request] = field(default_factory=list)
    sent: int = 0
    url: str = ""

    def handle(self, handler: Handler) -> None:
        path = unquote(urlsplit(handler.path).path)
        if self.answer is not None and self.answer(handler):
            return
        content = self.files.get(path)
        if content is None:
            handler.respond(404, b"not here")
            return
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        start, wanted = 0, handler.headers.get("Range")
        if wanted and self.ranges and handler.headers.get("If-Range", etag) == etag:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
        headers = {"ETag": etag} if self.etags else {}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        handler.respond(206 if start else 200, body, headers, cut_after=self.cut_after)


class Handler(BaseHTTPRequestHandler):
    """Records requests, and lets the server's `handle` answer."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        owner = self.server.owner
        headers = {name.lower(): value for name, value in self.headers.items()}
        owner.requests.append(Request(self.command, self.path, headers))
        try:
            owner.handle(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_GET

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while length := int(self.rfile.readline().strip(), 16):
                content += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def respond(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        cut_after: int | None = None,
        length: int | None = -1,
    ) -> None:
        """Send an answer; ``length`` replaces the stated length, null states none."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        if self.command != "HEAD":
            part = body if cut_after is None else body[:cut_after]
            self.wfile.write(part)
            self.server.owner.sent += len(part)
            if len(part) < len(body):
                self.close_connection = True
        if length is None:
            self.close_connection = True

    def respond_json(self, content: object, status: int = 200) -> None:
        self.respond(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def log_message(self, *_: object) -> None:
        """Print nothing."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    owner: FileServer | HubServer


@contextmanager
def running(owner: FileServer | HubServer) -> Iterator[None]:
    server = _Server(("127.0.0.1", 0), Handler)
    server.owner, owner.url = owner, f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class HubServer:
    """Model repositories, with the endpoints that downloads and ``huggingface_hub.upload_folder`` use.

    A repository maps revisions to files; an upload adds to ``main``.
    """

    repositories: dict[str, dict[str, dict[str, bytes]]] = field(default_factory=dict)
    token: str | None = None
    cdn: str | None = None  # URL of another server that large files are redirected to
    requests: list[Request] = field(default_factory=list)
    commits: list[list[dict[str, object]]] = field(default_factory=list)
    sent: int = 0
    url: str = ""
    lfs: dict[str, bytes] = field(default_factory=dict)

    def commit(self, name: str, revision: str = "main") -> str:
        """Identifier of the state of a revision."""
        files = self.repositories[name][revision]
        return hashlib.sha1(repr(sorted(files.items())).encode()).hexdigest()

    def handle(self, handler: Handler) -> None:
        # Large files go to another server, by URLs that carry their own permission.
        is_open = handler.path.startswith("/upload/")
        if self.token and not is_open and handler.headers.get("Authorization") != f"Bearer {self.token}":
            handler.respond_json({"error": "Invalid credentials"}, 401)
            return
        parts = urlsplit(handler.path).path.strip("/").split("/")
        match [handler.command, *parts]:
            case ["GET", "api", "models", org, name, "revision", revision]:
                self._listing(handler, f"{org}/{name}", unquote(revision))
            case ["GET", "api", "whoami-v2"]:
                handler.respond_json({"name": "tester", "type": "user", "orgs": []})
            case ["GET" | "HEAD", org, name, "resolve", commit, *path]:
                self._resolve(handler, f"{org}/{name}", commit, unquote("/".join(path)))
            case ["POST", "api", "validate-yaml"]:
                handler.body()
                handler.respond_json({"errors": [], "warnings": []})
            case ["POST", "api", "repos", "create"]:
                self._create(handler)
            case ["POST", "api", "models", org, name, "branch", branch]:
                handler.body()
                self.repositories[f"{org}/{name}"].setdefault(unquote(branch), {})
                handler.respond(200)
            case ["POST", "api", "models", _, _, "preupload", _]:
                files = json.loads(handler.body())["files"]
                kinds = ["lfs" if item["path"].endswith(".safetensors") else "regular" for item in files]
                handler.respond_json({
                    "files": [
                        {"path": item["path"], "uploadMode": kind, "shouldIgnore": False}
                        for item, kind in zip(files, kinds, strict=True)
                    ]
                })  # fmt: skip
            case ["POST", org, name, "info", "lfs", "objects", "batch"]:
                self._batch(handler, f"{org}/{name}")
            case ["PUT", "upload", digest]:
                self.lfs[digest] = handler.body()
                handler.respond(200)
            case ["POST", "api", "models", org, name, "commit", revision]:
                self._commit(handler, f"{org}/{name}", unquote(revision))
            case _:
                handler.body()
                handler.respond_json({"error": f"no endpoint {handler.command} {handler.path}"}, 404)

    def _listing(self, handler: Handler, name: str, revision: str) -> None:
        files = self.repositories.get(name, {}).get(revision)
        if files is None:
            handler.respond_json({"error": "Repository not found"}, 404)
            return
        siblings = []
        for path, content in files.items():
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            item: dict[str, object] = {"rfilename": path, "size": len(content), "blobId": git}
            if path.endswith(".safetensors"):
                sha256 = hashlib.sha256(content).hexdigest()
                item["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 130}
                item["blobId"] = "0" * 40  # that of the pointer file
            siblings.append(item)
        handler.respond_json({"id": name, "sha": self.commit(name, revision), "siblings": siblings})

    def _resolve(self, handler: Handler, name: str, commit: str, path: str) -> None:
        for revision, files in self.repositories.get(name, {}).items():
            if commit == self.commit(name, revision) and path in files:
                if self.cdn and path.endswith(".safetensors"):
                    handler.respond(302, headers={"Location": f"{self.cdn}/{path}"})
                else:
                    handler.respond(200, files[path])
                return
        handler.respond(404)

    def _create(self, handler: Handler) -> None:
        request = json.loads(handler.body())
        name = f"{request.get('organization') or 'tester'}/{request['name']}"
        if name in self.repositories:
            handler.respond_json({"error": "exists", "url": f"{self.url}/{name}"}, 409)
            return
        self.repositories[name] = {"main": {}}
        handler.respond_json({"url": f"{self.url}/{name}", "private": request.get("private", False)})

    def _batch(self, handler: Handler, name: str) -> None:
        objects = json.loads(handler.body())["objects"]
        handler.respond_json({
            "transfer": "basic",
            "objects": [
                {**item, "actions": {"upload": {"href": f"{self.url}/upload/{item['oid']}", "header": {}}}}
                for item in objects
            ],
        })  # fmt: skip

    def _commit(self, handler: Handler, name: str, revision: str) -> None:
        lines = [json.loads(line) for line in handler.body().splitlines() if line]
        self.commits.append(lines)
        files = self.repositories[name].setdefault(revision, {})
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.lfs[value["oid"]]
        commit = self.commit(name, revision)
        handler.respond_json({"commitUrl": f"{self.url}/{name}/commit/{commit}", "commitOid": commit})


def bytes_sent(server: FileServer, expected: int) -> int:
    """Bytes that a server has sent: its threads count them after a client may have read them."""
    deadline = time.monotonic() + 5
    while server.sent < expected and time.monotonic() < deadline:
        time.sleep(0.01)
    return server.sent
