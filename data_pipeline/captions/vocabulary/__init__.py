"""Where candidate captions come from: a language model, raters, tag lists."""
