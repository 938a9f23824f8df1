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
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class SecurityHeaders:
    """ASGI middleware that adds a content security policy to each answer.

    Args:
        app: The application.
    """

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer a request."""

        async def send_with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", _POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers)


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
        page = build_page(Playground(settings, folder / "results"))
        page.queue(max_size=settings.max_queue, default_concurrency_limit=1)
        try:
            _, url, _ = page.launch(
                server_name=settings.host,
                server_port=settings.port or _free_port(settings.host),
                max_file_size=settings.max_upload_mb * 10**6,
                allowed_paths=[str(folder / "results")],
                theme=_theme(),
                css_paths=STYLESHEET,
                app_kwargs={"middleware": [Middleware(SecurityHeaders)]},
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
