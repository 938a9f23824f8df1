"""The page: its components, and the functions that `gradio_client` calls under the same names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr
import torch

from lightning_n2m.errors import InputError
from lightning_n2m.playground.form import adapter_inputs, copied_text, editing_inputs, prompt_inputs
from lightning_n2m.playground.job import Job
from lightning_n2m.playground.models import Models
from lightning_n2m.playground.recording import waveform_html
from lightning_n2m.playground.request import GenerationRequest
from lightning_n2m.playground.results import (
    ResultStore,
    StageState,
    file_name,
    progress_html,
    results_html,
    store_clips,
    update,
    write_manifest,
)
from lightning_n2m.playground.settings import PlaygroundSettings

STYLESHEET = Path(__file__).with_name("page.css")
_ORDER = (
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
)
_INTERVAL = 0.5  # seconds between two updates of the page


class Playground:
    """The functions behind the page.

    Args:
        settings: Bounds and models.
        folder: Folder of generated files.
    """

    def __init__(self, settings: PlaygroundSettings, folder: Path) -> None:
        self.settings = settings
        self.models = Models(settings)
        self.store = ResultStore(folder, settings.kept_requests)

    def generate(
        self,
        prompt: str,
        negative: str,
        seconds: float,
        seed: float,
        guidance: float,
        steps: float,
        variations: float,
        route: str,
        bpm: float,
        key: str,
        mode: str,
        extend: float,
        regions: str,
        strength: float,
        adapters: list[str],
        adapter_strength: float,
        recording: str | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        """Generate music from a prompt. Guidance, steps and bpm of 0 leave them to the model or the prompt.

        Yields the files (clips and manifest.jsonl), the manifest, the command that generates the same, the
        clips as HTML and the progress as HTML.
        """
        request = GenerationRequest(
            prompt=prompt,
            negative=negative or "",
            seconds=seconds,
            seed=seed,  # type: ignore[arg-type]
            guidance=guidance or None,
            steps=steps or None,  # type: ignore[arg-type]
            variations=variations,  # type: ignore[arg-type]
            route=route,
            bpm=bpm or None,
            key=key or "",
            mode=mode,
            recording=Path(recording) if recording else None,
            extend=extend,
            regions=regions or "",
            strength=strength,
            adapters=tuple(adapters or ()),
            adapter_strength=adapter_strength,
        )
        try:
            request.check(self.settings)
            yield from self._run(request)
        except InputError as error:
            raise _refusal(error, recording) from error

    def examine(self, recording: str | None) -> tuple[str, str]:
        """Player and waveform of an uploaded recording, and no regions."""
        if not recording:
            return "", ""
        try:
            return waveform_html(Path(recording), self.settings.max_upload_seconds), ""
        except InputError as error:
            raise _refusal(error, recording) from error

    def _run(self, request: GenerationRequest) -> Iterator[tuple[Any, ...]]:
        folder = self.store.new_folder()
        name = file_name(request.prompt, int(request.seed))
        states: list[StageState] = []
        command = request.command(self.settings)
        job = Job(lambda observe: self.models.generate(request, observe))
        skip = gr.skip()
        yield skip, skip, skip, "", progress_html(states, "Loading the model.")
        try:
            for reports in job.reports(_INTERVAL):
                results: Any = skip
                for report in reports:
                    update(states, report)
                    if report.output is not None and report.number < report.stages - 1:
                        stem = f"{name}-{report.name}"
                        clips = store_clips(folder, stem, report.audio(), report.sample_rate)
                        states[report.number].clips = clips
                        results = results_html(states, request.prompt)
                # Also yields without news: a generator can be closed, to cancel it, only where it yields.
                progress = progress_html(states, "Generating.") if reports else skip
                yield skip, skip, skip, results, progress
            music = job.result()
        finally:
            job.cancel()
        clips = store_clips(folder, name, torch.from_numpy(music.samples), music.sample_rate)
        states[-1].clips = clips
        manifest = write_manifest(folder, clips, music.records)
        yield (
            [str(clip.audio) for clip in clips] + [str(manifest)],
            manifest.read_text(encoding="utf-8"),
            command,
            results_html(states, request.prompt),
            progress_html(states, f"Finished: {len(clips)} clip{'s' if len(clips) > 1 else ''}."),
        )


def _refusal(error: InputError, recording: str | None) -> gr.Error:
    """The message of an error for the page; the temporary folder of an upload says nothing to the user."""
    message = str(error)
    if recording:
        message = message.replace(recording, Path(recording).name)
    return gr.Error(message, print_exception=False)


def build_page(playground: Playground) -> gr.Blocks:
    """The page with its API.

    Args:
        playground: The functions.
    """
    settings = playground.settings
    with gr.Blocks(
        title="Playground of lightning_n2m", analytics_enabled=False, delete_cache=(3600, 3600)
    ) as page:
        gr.Markdown("# Music from text\nA cascade of diffusion models generates what the prompt describes.")
        with gr.Row():
            with gr.Column(scale=1, min_width=320):
                inputs = prompt_inputs(settings)
                inputs |= adapter_inputs(settings)
                with gr.Row():
                    generate = gr.Button("Generate", variant="primary", elem_id="generate")
                    cancel = gr.Button("Cancel", elem_id="cancel")
            with gr.Column(scale=2, min_width=320):
                edit, waveform = editing_inputs(settings)
                inputs |= edit
                progress = gr.HTML(progress_html([], "Ready."), elem_id="progress")
                results = gr.HTML("", elem_id="results")
                files = gr.File(
                    label="Download: clips and manifest.jsonl",
                    file_count="multiple",
                    height=120,
                    interactive=False,
                    elem_id="files",
                )
                command = copied_text("The same as a command", "command")
                manifest = copied_text("Manifest", "manifest")
        inputs["recording"].change(
            playground.examine,
            inputs=inputs["recording"],
            outputs=[waveform, inputs["regions"]],
            show_progress="hidden",
            api_visibility="private",
        )
        outputs = [files, manifest, command, results, progress]
        running = gr.on(
            [generate.click, inputs["prompt"].submit],
            playground.generate,
            inputs=[inputs[name] for name in _ORDER],
            outputs=outputs,
            api_name="generate",
            api_description="Generate music from a prompt.",
            show_progress="hidden",
            concurrency_limit=1,
            concurrency_id="generation",
        )
        cancel.click(cancels=[running], fn=None, api_visibility="private")
        # After a cancellation and after an error; a function of the button would race with the last reports.
        running.failure(
            lambda: progress_html([], "Stopped."), outputs=progress, queue=False, api_visibility="private"
        )
    return page
