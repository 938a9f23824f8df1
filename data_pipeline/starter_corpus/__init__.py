"""Composition, rendering and download of the music of the starter corpus."""
