"""A language model that describes songs: the protocol, and a local model."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from data_pipeline.captions.vocabulary.examples import PREFIX, Song, query
from lightning_n2m.errors import InputError
from lightning_n2m.storage import in_package


class Writer(Protocol):
    """Describes songs from title and artist; ``name`` identifies the answers of this writer."""

    name: str

    def write(self, songs: Sequence[Song]) -> Iterator[tuple[int, str]]:
        """Answers as they arrive, each with the position of its song.

        Raises:
            InputError: if the model fails; answers from before remain valid.
        """


class LocalWriter:
    """A causal language model of `transformers`, on this machine.

    Args:
        model: A folder as ``save_pretrained`` writes it, a name on the model hub, or
            ``package:NAME/FILE.gguf`` for weights that an installed Python package carries.
        batch: Songs described at a time.
        tokens: Upper bound on the length of an answer, in tokens.
        temperature: Sampling temperature.
        top_p: Probability mass that is sampled from (nucleus sampling).
        seed: Seed of sampling.
    """

    def __init__(
        self,
        model: str,
        batch: int = 64,
        tokens: int = 72,
        temperature: float = 0.7,
        top_p: float = 0.9,
        seed: int = 0,
    ) -> None:
        self.name, self.batch, self.tokens = model, batch, tokens
        self.temperature, self.top_p, self.seed = temperature, top_p, seed
        self._model: Any = None
        self._tokenizer: Any = None

    def write(self, songs: Sequence[Song]) -> Iterator[tuple[int, str]]:
        """Answers in the order of the songs, a batch at a time."""
        # transformers shows the tensors of a GGUF file by tqdm, which reads this when torch imports it.
        os.environ.setdefault("TQDM_DISABLE", "1")
        import torch

        if self._model is None:
            self._load()
        tokenizer, model = self._tokenizer, self._model
        # The examples are the same for every song: their keys and values are computed once.
        prefix = tokenizer(PREFIX, return_tensors="pt")
        with torch.inference_mode():
            examples = model(**prefix, use_cache=True).past_key_values
        ends = [number for number in range(len(tokenizer)) if "\n" in tokenizer.decode([number])]
        for start in range(0, len(songs), self.batch):
            part = songs[start : start + self.batch]
            yield from enumerate(self._answers(part, prefix, examples, ends, start), start)

    def _answers(
        self, songs: Sequence[Song], prefix: Any, examples: Any, ends: list[int], start: int
    ) -> list[str]:
        import copy

        import torch

        queries = self._tokenizer(
            [query(song) for song in songs], return_tensors="pt", padding=True, add_special_tokens=False
        )
        cache = copy.deepcopy(examples)
        cache.batch_repeat_interleave(len(songs))
        ids, mask = (
            torch.cat([prefix[key].expand(len(songs), -1), queries[key]], dim=1)
            for key in ("input_ids", "attention_mask")
        )
        torch.manual_seed(self.seed + start)
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=cache,
                max_new_tokens=self.tokens,
                do_sample=True,
                temperature=self.temperature,
                top_p=self.top_p,
                top_k=0,
                eos_token_id=[*ends, self._tokenizer.eos_token_id],
                pad_token_id=self._tokenizer.pad_token_id,
            )
        return self._tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)

    def _load(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            place, options = _locate(self.name)
            # Code in the model's folder is never run; a pickle of weights may hold tensors only.
            options["trust_remote_code"] = False
            self._tokenizer = AutoTokenizer.from_pretrained(place, padding_side="left", **options)
            if "gguf_file" in options:
                options["quantization_config"] = GgufConfig(dequantize=True)
            # bfloat16: half the memory, and several times the speed where the processor has AMX.
            self._model = AutoModelForCausalLM.from_pretrained(
                place, dtype=torch.bfloat16, weights_only=True, **options
            ).eval()
        except Exception as error:  # A damaged file makes transformers raise errors of any kind.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            if "trust_remote_code" in str(error):
                reason = "it needs Python code of its own, which is never run"
            raise InputError(
                f"The language model '{self.name}' cannot be loaded ({reason}); give --model a folder that "
                "save_pretrained wrote or package:NAME/FILE.gguf."
            ) from error
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token


def _locate(model: str) -> tuple[str, dict[str, Any]]:
    """The folder of a model, and the options that name a file in it."""
    path = in_package(model) if model.startswith("package:") else Path(model)
    if model.startswith((".", "/")) and not path.exists():
        raise FileNotFoundError("there is no such folder")
    return (str(path.parent), {"gguf_file": path.name}) if path.suffix == ".gguf" else (str(path), {})
