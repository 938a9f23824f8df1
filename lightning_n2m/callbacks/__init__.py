"""Floor 3: what watches a training and keeps its results."""
