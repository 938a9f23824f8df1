"""From embeddings to captions: search, draw, and what can be said of the result."""
