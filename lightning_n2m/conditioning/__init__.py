"""Inputs of a stage besides x_t: text, low-rate audio, a spectrogram."""
