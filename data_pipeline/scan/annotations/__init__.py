"""Metadata of tracks from tables: user tables, and the published tables of public data sets."""
