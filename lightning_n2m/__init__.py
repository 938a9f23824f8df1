"""Noise2Music (Huang et al. 2023, arXiv 2302.03917) as a training codebase.

``from lightning_n2m import from_pretrained`` loads a trained cascade. Importing the package is cheap.
Each other part is imported from its own module, for example
``from lightning_n2m.diffusion.sampler import sample``.

Shapes in docstrings: ``b`` batch, ``c`` channels, ``t`` time (samples or frames), ``n`` text
tokens, ``d`` width of a text vector.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_n2m.api import GeneratedAudio, TextToMusic, from_pretrained

__version__ = "0.1.0"
__all__ = ["GeneratedAudio", "TextToMusic", "from_pretrained"]


def __getattr__(name: str) -> Any:
    """Import the public names on first use: their module imports PyTorch and Lightning."""
    if name in __all__:
        return getattr(importlib.import_module("lightning_n2m.api"), name)
    raise AttributeError(f"module 'lightning_n2m' has no attribute '{name}'")
