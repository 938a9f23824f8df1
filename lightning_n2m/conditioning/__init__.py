"""Floor 1: what a stage is told: a text, a low-resolution signal, a spectrogram."""
