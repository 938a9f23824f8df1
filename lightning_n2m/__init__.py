"""Noise2Music (Huang et al. 2023, arXiv 2302.03917) as a training codebase.

Importing the package is cheap. Each part is imported from its own module, for example
``from lightning_n2m.diffusion.sampler import sample``.

Shapes in docstrings: ``b`` batch, ``c`` channels, ``t`` time (samples or frames), ``n`` text
tokens, ``d`` width of a text vector.
"""

__version__ = "0.1.0"
