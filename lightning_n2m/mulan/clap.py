"""CLAP (Wu et al. 2023), as `transformers` has it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.joint import fingerprint


class Clap:
    """A joint model behind `transformers.ClapModel`.

    Args:
        place: A folder as ``save_pretrained`` writes it, with processor and tokenizer, or a hub name.

    Raises:
        InputError: if it cannot be loaded, or lacks weights.
    """

    def __init__(self, place: str) -> None:
        from transformers import AutoFeatureExtractor, AutoTokenizer, ClapModel
        from transformers.utils import logging

        logging.disable_progress_bar()
        try:
            # transformers initialises missing weights at random, which would make the labels noise.
            loaded: Any = ClapModel.from_pretrained(
                place, output_loading_info=True, trust_remote_code=False, weights_only=True
            )
            self._extractor: Any = AutoFeatureExtractor.from_pretrained(place, trust_remote_code=False)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
        except Exception as error:  # Files of strangers: transformers raises whatever their content leads to.
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
            if "trust_remote_code" in str(error):
                reason = "it needs Python code of its own, which is never run"
            raise InputError(
                f"The joint model {place} cannot be loaded ({reason}); give --joint a folder that "
                "save_pretrained wrote, with weights, processor and tokenizer."
            ) from error
        finally:
            logging.enable_progress_bar()
        # Where its files are missing, transformers builds a tokenizer to which every word is unknown.
        if len(set(self._tokenizer.get_vocab()) - set(self._tokenizer.all_special_tokens)) < 2:
            raise InputError(f"{place} holds no tokenizer's vocabulary; save the model's own there too.")
        self._model, report = loaded[0].eval().requires_grad_(False), loaded[1]
        if missing := sorted(report["missing_keys"]):
            raise InputError(
                f"The weights in {place} lack {len(missing)} tensors, the first of them {missing[0]}; give "
                "--joint a folder of a whole CLAP."
            )
        self.name = f"clap {fingerprint(self._model.parameters())}"
        self.sample_rate = int(self._extractor.sampling_rate)
        self.dimension = int(self._model.config.projection_dim)

    @torch.inference_mode()
    def embed_audio(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` to unit vectors ``(b, dimension)``."""
        # Not "rand_trunc", the extractor's default, which would embed another crop each time.
        longest = round(self._extractor.nb_max_samples)
        features = self._extractor(
            [row.cpu().numpy() for row in audio[:, :longest]],
            sampling_rate=self.sample_rate,
            return_tensors="pt",
        ).to(self._model.device)
        found = self._model.get_audio_features(**features)
        return nn.functional.normalize(_pooled(found).float(), dim=-1).cpu()

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, dimension)``."""
        tokens = self._tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        found = self._model.get_text_features(**tokens.to(self._model.device))
        return nn.functional.normalize(_pooled(found).float(), dim=-1).cpu()


def _pooled(output: Any) -> Tensor:
    """The vector of an output: transformers 5 wraps what version 4 gave as it is."""
    return output if isinstance(output, Tensor) else output.pooler_output
