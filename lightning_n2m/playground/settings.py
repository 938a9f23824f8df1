"""Settings of the playground: where it listens, what it loads, and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, field

from lightning_n2m.errors import check_range


@dataclass(frozen=True)
class PlaygroundSettings:
    """Settings of the playground.

    Args:
        routes: Name of each route on the page, and the model that `from_pretrained` loads for it.
        adapters: Name of each adapter of the generator on the page, and its folder.
        editors: Folder of the generator that continues and repairs music, by model; the model's own generator
            does so where there is none, or with an adapter.
        host: Address on which the server listens; 127.0.0.1 is reachable from this machine only.
        port: Port; 0 for any free one.
        device: Where the models run; a GPU where there is one when null.
        max_seconds: Longest clip.
        max_variations: Most clips of one request.
        max_steps: Most sampling steps of the generator.
        max_queue: Most requests that wait; more are refused.
        max_upload_mb: Largest upload, in MB.
        max_upload_seconds: Longest recording.
        kept_requests: Number of requests whose files are kept; older ones are deleted.
        open_browser: Open the page in a browser.
    """

    routes: dict[str, str] = field(
        default_factory=lambda: {"spectrogram": "spectrogram", "waveform": "waveform"}
    )
    adapters: dict[str, str] = field(default_factory=dict)
    editors: dict[str, str] = field(
        default_factory=lambda: {"spectrogram": "pretrained/spectrogram_generator_edit"}
    )
    host: str = "127.0.0.1"
    port: int = 7860
    device: str | None = None
    max_seconds: float = 60.0
    max_variations: int = 4
    max_steps: int = 1000
    max_queue: int = 32
    max_upload_mb: int = 100
    max_upload_seconds: float = 600.0
    kept_requests: int = 50
    open_browser: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        check_range("port", self.port, 0, 65_535)
        check_range("max_seconds", self.max_seconds, 1, 3600)
        check_range("max_variations", self.max_variations, 1, 16)
        check_range("max_steps", self.max_steps, 1, 10_000)
        check_range("max_queue", self.max_queue, 1, 10_000)
        check_range("max_upload_mb", self.max_upload_mb, 1, 10_000)
        check_range("max_upload_seconds", self.max_upload_seconds, 1, 36_000)
        check_range("kept_requests", self.kept_requests, 1, 100_000)
        check_range("number of routes", len(self.routes), 1, 100)
