from __future__ import annotations

import dataclasses
import threading
from typing import Any

import pytest

from lightning_n2m.playground import models
from lightning_n2m.playground.models import Models
from lightning_n2m.playground.request import GenerationRequest
from lightning_n2m.playground.settings import PlaygroundSettings

SETTINGS = PlaygroundSettings(adapters={"a": "folder/a", "b": "folder/b"}, device="cpu")
REQUEST = GenerationRequest("a hymn")


class FakeModel:
    """Records how many generations run at once."""

    running = most = 0
    lock = threading.Lock()

    def generate(self, observe: Any, **arguments: Any) -> str:
        with self.lock:
            FakeModel.running += 1
            FakeModel.most = max(FakeModel.most, FakeModel.running)
        threading.Event().wait(0.02)
        with self.lock:
            FakeModel.running -= 1
        return arguments["prompts"][0]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """Models that were loaded, with their settings."""
    found: list[tuple[str, dict[str, Any]]] = []

    def load(model: str, **settings: Any) -> FakeModel:
        found.append((model, settings))
        return FakeModel()

    monkeypatch.setattr(models, "from_pretrained", load)
    return found


def test_each_model_is_loaded_once_and_one_generation_runs_at_a_time(loads):
    FakeModel.most = 0
    store = Models(SETTINGS)
    requests = [
        dataclasses.replace(REQUEST, prompt=str(n), route=("spectrogram", "waveform")[n % 2])
        for n in range(8)
    ]
    results: dict[int, Any] = {}

    def run(n: int) -> None:
        results[n] = store.generate(requests[n], lambda progress: None)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == {n: str(n) for n in range(8)}
    assert sorted(loads) == [("spectrogram", {"device": "cpu"}), ("waveform", {"device": "cpu"})]
    assert FakeModel.most == 1


def test_of_models_with_adapters_the_latest_is_kept(loads):
    store = Models(SETTINGS)
    plain = store.load(REQUEST)
    half = dataclasses.replace(REQUEST, adapters=("a",), adapter_strength=0.5)
    other = dataclasses.replace(REQUEST, adapters=("b",))
    first = store.load(half)
    assert store.load(half) is first
    store.load(other)
    assert len(store._adapted) == 1
    assert store.load(half) is not first
    assert store.load(REQUEST) is plain
    folders = [settings["generator"]["adapters"] for _, settings in loads if "generator" in settings]
    assert folders[0] == [{"folder": "folder/a", "strength": 0.5}]
    assert len(loads) == 4
