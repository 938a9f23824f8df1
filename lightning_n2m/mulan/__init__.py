"""Joint music-text models: one protocol, adapters for published ones, and two towers of this project."""
