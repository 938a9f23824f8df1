"""Pseudo-labels (section 3.6 of the paper): candidate captions, embeddings, and the choice per clip."""
