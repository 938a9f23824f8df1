"""Candidate captions: sentences of a language model, captions of raters, lists of tags."""
