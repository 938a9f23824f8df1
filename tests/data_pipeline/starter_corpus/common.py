"""The keys and styles that several tests go through."""

from __future__ import annotations

from data_pipeline.starter_corpus.harmony import Key
from data_pipeline.starter_corpus.styles import BANDS, CHAMBER

KEYS = [Key(tonic, mode) for tonic in range(12) for mode in ("major", "minor")]  # type: ignore[arg-type]


STYLES = [*BANDS, *CHAMBER]
