"""Start the server of the playground."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning_n2m.errors import InputError
from lightning_n2m.playground.settings import PlaygroundSettings

# Before gradio is imported: no usage statistics, no check for new versions.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

# The page loads nothing from other hosts. Gradio's own scripts need inline code and workers.
_POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; "
    "object-src 'none'; base-uri 'self'; form-action 'self'"
)
_OVERHEAD = 10**5  # bytes of a request around the file that it uploads
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class Guard:
    """ASGI middleware: a content security policy on each answer, and no request body above a size.

    Gradio bounds each file of an upload, but not their number.

    Args:
        app: The application.
        max_bytes: Largest body of a request.
    """

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]], max_bytes: int) -> None:
        self.app, self.max_bytes = app, max_bytes

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer a request."""
        received = 0

        async def receive_bounded() -> _Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            # A body without a stated length that grows beyond the bound ends as if the client had left.
            return {"type": "http.disconnect"} if received > self.max_bytes else message

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        stated = dict(scope.get("headers", ())).get(b"content-length", b"0")
        if scope["type"] == "http" and (not stated.isdigit() or int(stated) > self.max_bytes):
            text = f"The upload is too large; give a file of at most {self.max_bytes // 10**6} MB.\n"
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
            await send_with_headers({"type": "http.response.start", "status": 413, "headers": headers})
            await send_with_headers({"type": "http.response.body", "body": text.encode()})
            return
        await self.app(scope, receive_bounded, send_with_headers)


@contextmanager
def serve(settings: PlaygroundSettings) -> Iterator[str]:
    """A running playground, as long as the block lasts.

    Args:
        settings: Where it listens, what it loads and what it refuses.

    Yields:
        Its URL.

    Raises:
        InputError: if gradio is not installed, or the port is in use.
    """
    try:
        import gradio  # noqa: F401
        from starlette.middleware import Middleware
    except ImportError as error:
        raise InputError(
            "The playground needs gradio; install it with: pip install 'lightning_n2m[ui]'."
        ) from error
    from lightning_n2m.playground.page import STYLESHEET, Playground, build_page

    with tempfile.TemporaryDirectory(prefix="n2m-playground-") as temporary:
        folder = Path(temporary)
        # Uploads and copies of results go below the same folder, which is deleted at the end.
        os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
        max_bytes = settings.max_upload_mb * 10**6
        page = build_page(Playground(settings, folder / "results"))
        page.queue(max_size=settings.max_queue, default_concurrency_limit=1)
        try:
            _, url, _ = page.launch(
                server_name=settings.host,
                server_port=settings.port or _free_port(settings.host),
                max_file_size=max_bytes,
                allowed_paths=[str(folder / "results")],
                theme=_theme(),
                css_paths=STYLESHEET,
                app_kwargs={"middleware": [Middleware(Guard, max_bytes=max_bytes + _OVERHEAD)]},
                footer_links=["api", "settings"],
                inbrowser=settings.open_browser,
                prevent_thread_lock=True,
                share=False,
                ssr_mode=False,
                pwa=False,
                run_history=False,
                enable_monitoring=False,
                quiet=True,
            )
        except OSError as error:
            raise InputError(
                f"The playground cannot listen on {settings.host}, port {settings.port}; give another --port."
            ) from error
        try:
            yield url
        finally:
            page.close(verbose=False)


def _theme() -> Any:
    """Gradio's theme with fonts of the system, and grey text that is dark enough to read (WCAG: 4.5 to 1)."""
    from gradio import themes

    theme = themes.Default(
        primary_hue="blue", font=("system-ui", "sans-serif"), font_mono=("ui-monospace", "monospace")
    )
    return theme.set(
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_title_text_color="*neutral_700",
        block_title_text_color_dark="*neutral_200",
    )


def _free_port(host: str) -> int:
    """A port on which nothing listens."""
    import socket

    with socket.socket() as server:
        server.bind((host, 0))
        return int(server.getsockname()[1])
