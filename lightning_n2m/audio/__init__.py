"""Signal processing on tensors. Audio is ``(..., channels, time)`` in [-1, 1]."""
