"""The form of the page: the components of a request, by the name of their argument."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr

from lightning_n2m.playground.request import KEYS, MAX_PROMPT
from lightning_n2m.playground.settings import PlaygroundSettings

_WAVEFORM_SCRIPT = Path(__file__).with_name("waveform.js").read_text(encoding="utf-8")


def _refuse_urls(component: gr.File) -> gr.File:
    """Let the server fetch no URL that a client of the API gives in the place of an uploaded file.

    The methods of the object are replaced: gradio writes an interface file beside the module of a subclass.
    """
    move, async_move = component.move_resource_to_block_cache, component.async_move_resource_to_block_cache

    def checked(path: Any) -> Any:
        if "://" in str(path):
            raise gr.Error("A recording is given by a URL; upload the file.", print_exception=False)
        return path

    async def async_move_checked(path: Any) -> str | None:
        return await async_move(checked(path))

    component.move_resource_to_block_cache = lambda path: move(checked(path))
    component.async_move_resource_to_block_cache = async_move_checked
    return component


def prompt_inputs(settings: PlaygroundSettings) -> dict[str, Any]:
    """Components of the request by the name of their argument, in the order of the function."""
    inputs: dict[str, Any] = {}
    inputs["prompt"] = gr.Textbox(
        "a slow waltz for solo piano",
        label="Prompt",
        lines=2,
        max_length=MAX_PROMPT,
        elem_id="prompt",
    )
    inputs["negative"] = gr.Textbox(
        "", label="Negative prompt", info="What to lead away from.", max_length=MAX_PROMPT, elem_id="negative"
    )
    with gr.Row():
        inputs["seconds"] = gr.Slider(
            minimum=0.5,
            maximum=settings.max_seconds,
            value=min(10, settings.max_seconds),
            step=0.5,
            label="Seconds",
            elem_id="seconds",
        )
        inputs["variations"] = gr.Slider(
            1, settings.max_variations, 1, step=1, label="Variations", elem_id="variations"
        )
    with gr.Row():
        inputs["seed"] = gr.Number(0, label="Seed", precision=0, minimum=0, elem_id="seed")
        inputs["route"] = gr.Dropdown(
            list(settings.routes), value=next(iter(settings.routes)), label="Route", elem_id="route"
        )
    with gr.Row():
        inputs["bpm"] = gr.Number(
            0, label="Tempo", info="Beats per minute; 0: from the prompt.", minimum=0, elem_id="bpm"
        )
        keys = [("from the prompt", ""), *((key, key) for key in KEYS)]
        inputs["key"] = gr.Dropdown(keys, value="", label="Key", elem_id="key")
    with gr.Accordion("Sampler", open=False):
        inputs["guidance"] = gr.Number(
            0, label="Guidance", info="0: as exported with the model.", minimum=0, elem_id="guidance"
        )
        inputs["steps"] = gr.Number(
            0,
            label="Steps of the generator",
            info="0: as exported with the model.",
            precision=0,
            minimum=0,
            elem_id="steps",
        )
    return inputs


def editing_inputs(settings: PlaygroundSettings) -> tuple[dict[str, Any], gr.HTML]:
    """Components of a recording to edit, and its waveform."""
    inputs: dict[str, Any] = {}
    with gr.Accordion("Continue, repair or vary a recording", open=False):
        inputs["mode"] = gr.Radio(
            [("New music", "new"), ("Continue", "continue"), ("Repair", "repair"), ("Vary", "vary")],
            value="new",
            label="What to make",
            elem_id="mode",
        )
        limits = f"at most {settings.max_upload_mb} MB and {settings.max_upload_seconds / 60:g} minutes"
        inputs["recording"] = _refuse_urls(
            gr.File(label=f"Recording ({limits})", type="filepath", height=120, elem_id="recording")
        )
        waveform = gr.HTML("", js_on_load=_WAVEFORM_SCRIPT, elem_id="waveform")
        inputs["regions"] = gr.Textbox(
            "",
            label="Repair: regions",
            info="In seconds, such as 8:12,20:24. Drag on the waveform to mark one, click one to remove it.",
            elem_id="regions",
        )
        with gr.Row():
            inputs["extend"] = gr.Number(
                5, label="Continue: seconds", info="Negative: before the recording.", elem_id="extend"
            )
            inputs["strength"] = gr.Slider(
                0.05,
                1,
                0.5,
                step=0.05,
                label="Vary: strength",
                info="1: nothing of the recording is kept.",
                elem_id="strength",
            )
    return inputs, waveform


def adapter_inputs(settings: PlaygroundSettings) -> dict[str, Any]:
    """Components of the adapters; hidden where the playground has none."""
    with gr.Accordion("Adapters", open=False, visible=bool(settings.adapters)):
        return {
            "adapters": gr.Dropdown(
                list(settings.adapters), value=[], multiselect=True, label="Adapters", elem_id="adapters"
            ),
            "adapter_strength": gr.Slider(
                -1, 2, 1, step=0.05, label="Strength of the adapters", elem_id="adapter_strength"
            ),
        }


def copied_text(label: str, elem_id: str) -> gr.Textbox:
    """Text that a button copies."""
    return gr.Textbox(label=label, buttons=["copy"], lines=2, max_lines=6, interactive=False, elem_id=elem_id)
