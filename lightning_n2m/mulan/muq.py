"""MuQ-MuLan (Zhu et al. 2025), by the optional package ``muq``; its weights are CC BY-NC 4.0."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lightning_n2m.errors import InputError
from lightning_n2m.mulan.joint import fingerprint


class MuQMuLan:
    """A joint model behind `muq.MuQMuLan`.

    Args:
        place: A folder as ``save_pretrained`` writes it, or a hub name.

    Raises:
        InputError: if the package is missing, or the model cannot be loaded.
    """

    def __init__(self, place: str) -> None:
        try:
            from muq import MuQMuLan as Model
        except ImportError as error:
            raise InputError(
                f"MuQ-MuLan needs a package that cannot be imported ({error}); run 'pip install muq'."
            ) from error
        try:
            self._model = Model.from_pretrained(place).eval().requires_grad_(False)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise InputError(
                f"The joint model muq:{place} cannot be loaded ({reason}); give --joint muq: and a folder "
                "that save_pretrained wrote."
            ) from error
        self.name = f"muq-mulan {fingerprint(self._model.parameters())}"
        self.sample_rate = int(self._model.sr)
        self.dimension = int(self._model.config.mulan["dim_latent"])

    @torch.inference_mode()
    def embed_audio(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` to unit vectors ``(b, dimension)``.

        Raises:
            InputError: if the package does not run beside the installed transformers.
        """
        from transformers import __version__ as version

        try:
            found = self._model(wavs=audio.to(self._model.device))
        except (AttributeError, KeyError) as error:
            raise InputError(
                f"The package muq cannot embed audio beside transformers {version} ({error!r}): "
                "muq 0.1.0 was made for version 4; give --joint a CLAP or towers of your own."
            ) from error
        return nn.functional.normalize(found.float(), dim=-1).cpu()

    @torch.inference_mode()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, dimension)``."""
        return nn.functional.normalize(self._model(texts=list(texts)).float(), dim=-1).cpu()
