"""The joint music-text model: one protocol, adapters for published ones, and two towers of our own."""
