"""The frozen text encoder (section 3.4): the whole token sequence, not one pooled vector."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from lightning_n2m.conditioning.tensor_cache import TensorCache
from lightning_n2m.conditioning.text_models import load_encoder, load_tokenizer
from lightning_n2m.errors import InputError

CACHE_BYTES = 256 << 20
_BATCH = 64  # Texts that a GPU encodes at a time.
_MANY_UNKNOWN = 32


@dataclass(frozen=True)
class EncodedText:
    """Token vectors ``(b, n, d)`` and where there is a token ``(b, n)``."""

    states: Tensor
    mask: Tensor


class TextVectors(Protocol):
    """Token vectors that were computed before training."""

    def read(self, text: str) -> Tensor | None:
        """Token vectors ``(n, d)`` of a text, in the precision of the encoder; None where it is unknown."""


class TextEncoder:
    """A language model of `transformers` that turns prompts into token vectors.

    It is not an `nn.Module`: as part of a stage, a frozen T5 would be in every checkpoint and in the moving
    average too. It never runs in float16, in which T5 overflows to NaN. All encoders of a process that name
    the same model and precision share its weights, which are loaded when the first text is encoded: a recipe
    can be built and planned without them. Code in a model's folder is never run.

    Args:
        model: A folder as ``save_pretrained`` writes it, a name on the model hub, or
            ``package:NAME/FOLDER`` for weights that an installed Python package carries.
        max_tokens: Prompts are cut at this length (table 2: 64, or 96 for the spectrogram generator).
        dtype: Precision of the encoder.
        cache_bytes: Host memory for the vectors of recent texts, in bytes.
    """

    def __init__(
        self,
        model: str,
        max_tokens: int = 64,
        dtype: Literal["float32", "bfloat16"] = "float32",
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        for name, value, lowest in (("max_tokens", max_tokens, 2), ("cache_bytes", cache_bytes, 0)):
            if value < lowest:
                raise InputError(f"text.{name} is {value}; give a number of at least {lowest}.")
        self.model, self.max_tokens, self.dtype, self.cache_bytes = model, max_tokens, dtype, cache_bytes
        self._reset()

    def _reset(self) -> None:
        self._tokenizer: Any = None
        self._encoder: Any = None
        self._device: torch.device | None = None
        self._vectors: TextVectors | None = None
        self._unknown = 0  # Texts that were not among the precomputed vectors.
        self._cache = TensorCache(self.cache_bytes)

    def __getstate__(self) -> dict[str, Any]:
        """Loader workers get the settings and load a tokenizer themselves: weights are not sent to them."""
        return {key: self.__dict__[key] for key in ("model", "max_tokens", "dtype", "cache_bytes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start again from the settings."""
        self.__dict__.update(state)
        self._reset()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that belongs to the model.

        Raises:
            InputError: if it cannot be loaded, or has no vocabulary.
        """
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.model)
        return self._tokenizer

    def count_tokens(self, text: str) -> int:
        """Length of a text in tokens, without the special ones."""
        return len(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    @property
    def special_tokens(self) -> int:
        """Tokens that the tokenizer adds to every text."""
        return int(self.tokenizer.num_special_tokens_to_add())

    def use_vectors(self, vectors: TextVectors | None) -> None:
        """Take token vectors from ``vectors`` where it has them; other texts are encoded as before.

        Args:
            vectors: What `lightning_n2m.conditioning.text_vectors.open_text_vectors` returns; None to
                encode every text.
        """
        self._vectors = vectors

    @torch.no_grad()
    def encode(self, texts: Sequence[str], device: torch.device | str = "cpu") -> EncodedText:
        """Token vectors of prompts.

        Raises:
            InputError: if the model cannot be loaded, or its vectors are NaN or infinite.
        """
        device = torch.device(device)
        # Each text once: from the cache, from precomputed vectors, or from the network.
        vectors: dict[str, Tensor] = {}
        missing = []
        for text in dict.fromkeys(texts):
            row = self._cache.get(text)
            if row is None and self._vectors is not None:
                row = self._vectors.read(text)
                if row is None:
                    self._count_missing_vectors(text)
            if row is None:
                missing.append(text)
            else:
                vectors[text] = row
        vectors.update(self.run(missing, device))
        for text in texts:
            self._cache.put(text, vectors[text])
        # Pad to the longest text of the batch.
        rows = [vectors[text].to(device, torch.float32) for text in texts]
        states = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return EncodedText(states, torch.arange(states.shape[1], device=device) < lengths[:, None])

    @torch.no_grad()
    def run(self, texts: Sequence[str], device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Token vectors ``(n, d)`` by text, on the host and in the encoder's precision, without any cache.

        Raises:
            InputError: if the model cannot be loaded, or its vectors are NaN or infinite.
        """
        device = torch.device(device)
        # One text at a time on the CPU: the last bits of its vectors then do not depend on the other texts
        # of the batch, and a resumed run repeats the uninterrupted one bit for bit.
        size = 1 if device.type == "cpu" else _BATCH
        vectors: dict[str, Tensor] = {}
        for start in range(0, len(texts), size):
            vectors.update(self._run_batch(texts[start : start + size], device))
        return vectors

    def _run_batch(self, texts: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        if self._encoder is None or self._device != device:
            self._encoder, self._device = load_encoder(self.model, self.dtype, device), device
        tokens = self.tokenizer(
            list(texts), truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt"
        ).to(device)
        with torch.autocast(device.type, enabled=False):
            states = self._encoder(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).last_hidden_state
        mask = tokens["attention_mask"].bool()
        if not states[mask].isfinite().all():
            raise InputError(
                f"The text encoder '{self.model}' computes vectors that are NaN or infinite, so its weights "
                "are damaged; give the stage's text.model another copy."
            )
        rows = zip(states, mask, strict=True)
        return {text: row[present].cpu() for text, (row, present) in zip(texts, rows, strict=True)}

    def _count_missing_vectors(self, text: str) -> None:
        """Warn once, when more texts are missing than the few prompts that are sampled during training."""
        self._unknown += 1
        if self._unknown == _MANY_UNKNOWN:
            warnings.warn(
                f"No text vectors were precomputed for {_MANY_UNKNOWN} captions, such as {text[:60]!r}, so "
                "these are encoded during training. Run 'python -m data_pipeline derive-text' again after "
                "labelling, and see its --tag_orders.",
                stacklevel=2,
            )
