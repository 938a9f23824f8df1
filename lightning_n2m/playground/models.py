"""The models of the playground: each is loaded once, and one generation runs at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

from lightning_n2m.api import GeneratedAudio, TextToMusic, from_pretrained
from lightning_n2m.playground.request import GenerationRequest
from lightning_n2m.playground.settings import PlaygroundSettings
from lightning_n2m.stages.result import StageProgress


class Models:
    """Models by route.

    Args:
        settings: Names of the models, and their device.
    """

    def __init__(self, settings: PlaygroundSettings) -> None:
        self.settings = settings
        self._models: dict[str, TextToMusic] = {}
        self._adapted: dict[str, TextToMusic] = {}
        self._lock = threading.Lock()

    def load(self, request: GenerationRequest) -> TextToMusic:
        """The model of a request; the first call loads it. Of models with adapters, the latest is kept.

        Raises:
            InputError: if a stage is missing or damaged, or an adapter belongs to another one.
        """
        generator = request.generator(self.settings)
        name = json.dumps([request.route, generator])
        models = self._adapted if "adapters" in generator else self._models
        if name not in models:
            self._adapted.clear()
            changes = {"generator": generator} if generator else {}
            model = self.settings.routes[request.route]
            models[name] = from_pretrained(model, device=self.settings.device, **changes)
        return models[name]

    def generate(
        self, request: GenerationRequest, observe: Callable[[StageProgress], None]
    ) -> GeneratedAudio:
        """Generate the clips of a request.

        Args:
            request: The request, checked.
            observe: Called after each step; see `TextToMusic.generate`.

        Raises:
            InputError: if the model cannot be loaded, or generates NaN or infinite samples.
        """
        # A cancelled request may still compute its current step: the next one waits for it.
        with self._lock:
            return self.load(request).generate(**request.arguments(), observe=observe)
