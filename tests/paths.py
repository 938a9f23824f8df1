"""Folders that tests read."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ASSETS = ROOT / "tests" / "assets"
# Twelve pieces of 30 seconds, CC0, with metadata.jsonl.
CLIPS = ASSETS / "clips"
