"""The frozen text encoder (section 3.4): the whole token sequence, not one pooled vector."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from torch import Tensor

from lightning_n2m.errors import InputError
from lightning_n2m.storage import in_package


@dataclass(frozen=True)
class EncodedText:
    """Token vectors ``(b, n, d)`` and where there is a token ``(b, n)``."""

    states: Tensor
    mask: Tensor


class TextEncoder:
    """A language model of `transformers` that turns prompts into token vectors.

    It is no `nn.Module` on purpose: registered in a stage, a frozen T5 would be in every checkpoint
    and in the moving average too. It never runs in float16, in which T5 overflows to NaN.

    Args:
        model: A folder as ``save_pretrained`` writes it, a name on the model hub, or
            ``package:NAME/FOLDER`` for weights that an installed Python package carries.
        max_tokens: Prompts are cut at this length (table 2: 64, or 96 for the spectrogram generator).
        dtype: Precision of the encoder.
        cache: Number of texts whose vectors are kept.

    The weights are loaded when the first text is encoded, so that a recipe can be built and planned
    without them.
    """

    def __init__(
        self,
        model: str,
        max_tokens: int = 64,
        dtype: Literal["float32", "bfloat16"] = "float32",
        cache: int = 4096,
    ) -> None:
        self.model, self.max_tokens, self.dtype, self.cache = model, max_tokens, dtype, cache
        self._forget()

    def _forget(self) -> None:
        self._tokenizer: Any = None
        self._encoder: Any = None
        self._known: OrderedDict[str, Tensor] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Loader workers get the settings and load a tokenizer of their own: weights stay behind."""
        return {key: self.__dict__[key] for key in ("model", "max_tokens", "dtype", "cache")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Start anew from the settings."""
        self.__dict__.update(state)
        self._forget()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer that belongs to the model.

        Raises:
            InputError: if it cannot be loaded, or knows no words.
        """
        if self._tokenizer is None:
            from transformers import AutoTokenizer

            tokenizer = self._load(AutoTokenizer)
            # Where its files are missing, transformers makes up one to which all words are unknown.
            if len(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) < 2:
                raise InputError(
                    f"The text encoder '{self.model}' holds no tokenizer's vocabulary; save the model's own "
                    "tokenizer there too, by save_pretrained."
                )
            self._tokenizer = tokenizer
        return self._tokenizer

    def count_tokens(self, text: str) -> int:
        """Length of a text in tokens, without the special ones."""
        return len(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    @property
    def special_tokens(self) -> int:
        """Tokens that the tokenizer adds to every text."""
        return int(self.tokenizer.num_special_tokens_to_add())

    @torch.no_grad()
    def encode(self, texts: Sequence[str], device: torch.device | str = "cpu") -> EncodedText:
        """Token vectors of prompts.

        Raises:
            InputError: if the model cannot be loaded.
        """
        device = torch.device(device)
        missing = list(dict.fromkeys(text for text in texts if text not in self._known))
        # On the CPU one text at a time: its vectors then do not depend, in their last bits, on its
        # neighbours, and a resumed run repeats the uninterrupted one bit for bit.
        size = 1 if device.type == "cpu" else 64
        found = {text: self._known[text] for text in texts if text in self._known}
        for start in range(0, len(missing), size):
            found.update(self._run(missing[start : start + size], device))
        for text in texts:
            self._known[text] = found[text]
            self._known.move_to_end(text)
        while len(self._known) > self.cache:
            self._known.popitem(last=False)
        rows = [found[text].to(device, torch.float32) for text in texts]
        states = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=device)
        return EncodedText(states, torch.arange(states.shape[1], device=device) < lengths[:, None])

    def _run(self, texts: list[str], device: torch.device) -> dict[str, Tensor]:
        if self._encoder is None:
            from transformers import AutoModelForTextEncoding
            from transformers.utils import logging

            shown = logging.is_progress_bar_enabled()
            logging.disable_progress_bar()  # its bar would tear the bars of training and sampling
            self._encoder = self._load(AutoModelForTextEncoding, dtype=getattr(torch, self.dtype))
            if shown:
                logging.enable_progress_bar()
            self._encoder.eval().requires_grad_(False)
        self._encoder.to(device)
        tokens = self.tokenizer(
            texts, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt"
        ).to(device)
        with torch.autocast(device.type, enabled=False):
            states = self._encoder(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).last_hidden_state
        rows = zip(states, tokens["attention_mask"].bool(), strict=True)
        return {text: row[mask].cpu() for text, (row, mask) in zip(texts, rows, strict=True)}

    def _load(self, kind: Any, **options: Any) -> Any:
        try:
            return kind.from_pretrained(_locate(self.model), **options)
        except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"The text encoder '{self.model}' cannot be loaded ({reason}); set the stage's text.model to "
                "a folder that save_pretrained wrote, or to the name of a model in the local hub cache."
            ) from error


def _locate(model: str) -> str:
    """Folder of ``package:NAME/FOLDER``; any other name as it is, but a path must be there."""
    if not model.startswith("package:"):
        if model.startswith((".", "/")) and not Path(model).is_dir():
            raise FileNotFoundError("there is no such folder")
        return model
    return str(in_package(model))


# Width, width of a head, of the feed-forward layer, number of layers and of heads: what the hub would tell.
T5_V1_1 = {
    "small": (512, 64, 1024, 8, 6),
    "base": (768, 64, 2048, 12, 12),
    "large": (1024, 64, 2816, 24, 16),
    "xl": (2048, 64, 5120, 24, 32),
    "xxl": (4096, 64, 10240, 24, 64),
}


def encoder_size(model: str) -> tuple[int, int] | None:
    """Parameters of a text encoder, all of them and without the embedding of its words.

    Args:
        model: As `TextEncoder` takes it. Nothing is loaded but its configuration, and that of T5 v1.1 is
            known.

    Returns:
        Both numbers, or none where the model is not at hand.
    """
    from transformers import AutoConfig, AutoModelForTextEncoding, T5Config

    size = model.removeprefix("google/t5-v1_1-")
    if size in T5_V1_1:
        width, head, hidden, layers, heads = T5_V1_1[size]
        config = T5Config(
            d_model=width,
            d_kv=head,
            d_ff=hidden,
            num_layers=layers,
            num_heads=heads,
            feed_forward_proj="gated-gelu",
        )
    else:
        try:
            config = AutoConfig.from_pretrained(_locate(model), local_files_only=True)
        except (OSError, ValueError, ImportError):
            return None
    with torch.device("meta"):
        encoder = AutoModelForTextEncoding.from_config(config)
    total = sum(parameter.numel() for parameter in encoder.parameters())
    return total, total - encoder.get_input_embeddings().weight.numel()
