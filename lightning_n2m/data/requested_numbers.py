"""Tempo and key that the user sets beside the prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lightning_n2m.conditioning.numbers import MusicNumbers, key_classes, parse_key
from lightning_n2m.data.prompt_attributes import parse_prompt
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.networks.number_embedding import FASTEST, SLOWEST, NumberName


@dataclass(frozen=True)
class RequestedNumbers:
    """Tempo and key for all prompts; null where the prompt alone decides.

    Args:
        tempo: Beats per minute.
        key: Tonic and mode.
    """

    tempo: float | None = None
    key: tuple[str, str] | None = None

    @staticmethod
    def parse(bpm: float | None, key: str | None) -> RequestedNumbers:
        """Check a tempo and read a key.

        Args:
            bpm: Beats per minute, 20 to 400.
            key: As people write it: ``D minor``, ``Bb``.

        Raises:
            InputError: if the tempo is out of range, or the key cannot be read.
        """
        if bpm is not None:
            check_range("model.bpm", bpm, SLOWEST, FASTEST)
        return RequestedNumbers(bpm, parse_key(key) if key and key.strip() else None)

    def numbers(self, prompt: str) -> MusicNumbers:
        """Tempo and key of a clip: as set, else as its prompt names them. The clip begins on a beat.

        Raises:
            InputError: if the prompt names another tempo or key than is set.
        """
        named = parse_prompt(prompt)
        start = "".join(c if c.isprintable() else " " for c in prompt[:40])
        if self.tempo is not None and named.tempo is not None and self.tempo != named.tempo:
            raise InputError(
                f"The prompt '{start}...' names {named.tempo:g} bpm, but model.bpm is {self.tempo:g}; remove "
                "one of them."
            )
        if self.key is not None and named.key is not None and key_classes(self.key) != key_classes(named.key):
            raise InputError(
                f"The prompt '{start}...' names {' '.join(named.key)}, but model.key is "
                f"{' '.join(self.key)}; remove one of them."
            )
        tempo = named.tempo if self.tempo is None else self.tempo
        return MusicNumbers(tempo, self.key or named.key, None if tempo is None else 0.0)

    def prompt_for(self, prompt: str, names: Sequence[NumberName]) -> str:
        """The prompt with the numbers that are set and that a network takes only in words.

        Args:
            prompt: The user's prompt.
            names: Numbers that the network takes as conditions of their own.
        """
        named, words = parse_prompt(prompt), [prompt]
        if self.tempo is not None and named.tempo is None and "tempo" not in names:
            words.append(f"{self.tempo:g} bpm")
        if self.key is not None and named.key is None and not {"tonic", "mode"} <= set(names):
            words.append(" ".join(self.key))
        if len(words) == 1:
            return prompt
        return ", ".join([prompt.rstrip(" .,;"), *words[1:]]).removeprefix(", ")
