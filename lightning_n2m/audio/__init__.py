"""Floor 0: sound as tensors, known to no model. Audio is ``(..., channels, time)`` in [-1, 1]."""
