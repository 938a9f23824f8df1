"""Offline tools: from folders of music to shards of (audio, text)."""
