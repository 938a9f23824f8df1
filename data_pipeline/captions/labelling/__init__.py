"""From embeddings to captions: search, draw, and statistics of the result."""

from typing import Literal

SearchMethod = Literal["exact", "faiss"]
