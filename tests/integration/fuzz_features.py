"""Readers of adapters, few-step stages, model hubs, tempo, key and edits, each with a small valid input."""

from __future__ import annotations

import copy
import os
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from lightning_n2m.audio import ffmpeg
from lightning_n2m.audio.io import Audio, encode, write
from lightning_n2m.data.editing import plan
from lightning_n2m.data.recording import read_recording
from lightning_n2m.data.requested_numbers import RequestedNumbers
from lightning_n2m.errors import InputError
from lightning_n2m.networks.adapters import AdapterSettings, adapter_tensors, attach
from lightning_n2m.remote.bundles import fetch_bundle
from lightning_n2m.remote.hub import HubPlace, HubSource
from lightning_n2m.remote.sources import split_pin
from lightning_n2m.stages.adapters import AdapterInfo, add_adapters, hash_weights, write_adapter
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import load_stage, read_config, save_stage, write_bundle
from lightning_n2m.stages.onnx_bundle import load_for_sampling, save_onnx
from lightning_n2m.stages.stage_config import build_stage
from tests.audio.mp3_files import mp3
from tests.integration.fuzzing import Reader
from tests.paths import ROOT
from tests.remote.servers import FileServer, HubServer, running

_LOOPBACK = {"HF_HUB_OFFLINE": "", "N2M_OFFLINE": "", "HF_TOKEN": "", "http_proxy": "", "HTTP_PROXY": ""}


def feature_readers(folder: Path) -> list[Reader]:
    """Build the seeds and list the readers.

    Args:
        folder: Where the seeds are written.
    """
    folder.mkdir()
    return [*_stages(folder), *_remote(folder), *_settings(folder)]


def _small_stage(**network: Any) -> tuple[dict[str, Any], Stage]:
    config = read_config(ROOT / "pretrained" / "super_resolution")
    config["init_args"]["network"]["init_args"].update(base_channels=8, groups=4, **network)
    torch.manual_seed(0)
    return config, build_stage(config)


def _stages(folder: Path) -> list[Reader]:
    config, student = _small_stage(step_input=True)
    few = write_bundle(folder / "few", config, student.network.state_dict())
    _, base = _small_stage()
    settings = AdapterSettings(rank=2)
    trained = copy.deepcopy(base)
    attach(trained.network, settings)
    info = AdapterInfo(settings, type(base).__name__, hash_weights(base.network.state_dict()))
    adapter = write_adapter(folder / "adapter", info, adapter_tensors(trained.network.state_dict()))
    pair = folder / "pair"  # a stage, and another that is stored as its difference from it
    other = {name: 1.5 * tensor for name, tensor in base.network.state_dict().items()}
    beside = write_bundle(pair / "base", _small_stage()[0], other)
    save_stage(few, pair / "student", half=False, base=beside, rank=2)

    def add(path: Path) -> None:
        add_adapters(copy.deepcopy(base), [(path, 0.5)])

    return [
        Reader("bundle-few-steps", few, ("*",), lambda path: load_stage(path), 1.0),
        Reader(
            "bundle-low-rank", pair, ("student/*", "base/*"), lambda path: load_stage(path / "student"), 1.0
        ),
        Reader("adapter", adapter, ("*",), add, 2.0),
        Reader(
            "bundle-onnx", save_onnx(few, folder / "onnx"), ("*",), lambda path: load_for_sampling(path), 0.5
        ),
    ]


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    with mock.patch.dict(os.environ, values):
        yield


def _remote(folder: Path) -> list[Reader]:
    config, stage = _small_stage()
    bundle = write_bundle(folder / "exported", config, stage.network.state_dict())
    files = {name: (bundle / name).read_bytes() for name in ("config.yaml", "weights.safetensors")}

    listing = folder / "listing.json"
    hub = HubServer({"org/music": {"main": files}})
    with running(hub):
        url = f"{hub.url}/api/models/org/music/revision/main?blobs=true"
        listing.write_bytes(urllib.request.urlopen(url).read())

    # The cache as a download leaves it, which is read again without a network.
    cache = folder / "cache"
    server = FileServer({f"/stage/{name}": content for name, content in files.items()})
    with running(server), _environment(_LOOPBACK | {"N2M_CACHE": str(cache)}):
        url = f"{server.url}/stage"
        fetch_bundle(url)
    (folder / "url.txt").write_text("hf://org/name/stage@main#sha256=" + "a" * 64)

    def request_hub(path: Path) -> None:
        liar = FileServer(answer=lambda handler: handler.respond(200, path.read_bytes()) or True)
        with running(liar), _environment(_LOOPBACK | {"HF_ENDPOINT": liar.url}):
            source = HubSource(HubPlace.parse("hf://org/music"))
            for name in ("config.yaml", "weights.safetensors"):
                source.find(name)

    def read_cache(path: Path) -> None:
        with _environment(_LOOPBACK | {"N2M_CACHE": str(path), "N2M_OFFLINE": "1"}):
            load_stage(fetch_bundle(url))

    def parse_url(path: Path) -> None:
        base, _ = split_pin(path.read_bytes().decode(errors="replace"))
        str(HubPlace.parse(base).join("stage"))

    return [
        Reader("hub-answer", listing, (), request_hub, 0.5),
        Reader("hub-cache", cache, ("urls/*.json", "bundles/*/*"), read_cache, 1.0),
        Reader("hub-url", folder / "url.txt", (), parse_url, 0.5),
    ]


def _settings(folder: Path) -> list[Reader]:
    (folder / "numbers.txt").write_text("120.5\nF# minor\na waltz in D minor at 90 bpm")

    def numbers(path: Path) -> None:
        bpm, key, *prompt = [*path.read_bytes().decode(errors="replace").split("\n"), "", ""]
        try:
            tempo = float(bpm)
        except ValueError as error:  # jsonargparse refuses it before the reader.
            raise InputError("not a number") from error
        RequestedNumbers.parse(tempo, key).numbers("\n".join(prompt))

    recording = Audio(0.1 * torch.randn(1, 8000 * 30), 8000)
    (folder / "regions.txt").write_text("8:12, 20.5:24")
    (folder / "sections.txt").write_text("0:30 calm piano; 30:60.5 drums enter;60.5:90 the end")

    def regions(path: Path) -> None:
        edit = plan(recording, regenerate=path.read_bytes().decode(errors="replace"))
        if edit is not None:
            edit.timeline(3200)

    def sections(path: Path) -> None:
        edit = plan(sections=path.read_bytes().decode(errors="replace"))
        if edit is not None:
            edit.timeline(3200)

    return [
        Reader("numbers", folder / "numbers.txt", (), numbers, 0.5),
        Reader("edit-regions", folder / "regions.txt", (), regions, 0.5),
        Reader("edit-sections", folder / "sections.txt", (), sections, 0.5),
        *_recordings(folder / "recordings"),
    ]


def _recordings(folder: Path) -> list[Reader]:
    """Recordings to edit, in formats of libsndfile and ffmpeg, as `predict` and the playground read them."""
    folder.mkdir()
    time = torch.arange(8000 * 2) / 8000
    samples = 0.3 * torch.sin(2 * torch.pi * 220 * time).expand(2, -1)
    write(folder / "recording.wav", samples, 8000)
    write(folder / "recording.flac", samples, 8000)
    (folder / "recording.ogg").write_bytes(encode(samples, 8000, "OGG", "VORBIS"))
    (folder / "recording.mp3").write_bytes(mp3("loud", 2))
    program = ffmpeg.program()
    if program is not None:
        for name in ("recording.m4a", "recording.webm"):
            command = [program, "-v", "error", "-i", folder / "recording.wav", folder / name]
            subprocess.run(command, check=True)

    def read_and_check(path: Path) -> None:
        audio = read_recording(path, max_seconds=60)
        # What a reader promises: mono, at least 1 s and at most the given length, finite, not silent.
        assert audio.samples.shape[0] == 1 and bool(torch.isfinite(audio.samples).all())
        assert 1 <= audio.samples.shape[1] / audio.sample_rate <= 60

    return [
        Reader(f"recording-{path.suffix[1:]}", path, (), read_and_check, 0.3)
        for path in sorted(folder.iterdir())
    ]
