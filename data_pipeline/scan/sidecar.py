"""Files beside a track that describe it: NAME.json with metadata, NAME.txt with captions."""

from __future__ import annotations

import codecs
from collections import Counter
from typing import Any

from data_pipeline.scan.file_scan import SourceFile, read_small
from data_pipeline.scan.json_text import parse_json
from data_pipeline.scan.metadata_fields import Ignored, clean_text, parse_metadata
from lightning_n2m.errors import InputError

MAX_BYTES = 1 << 20
_MAX_LINES = 20  # Lyrics and logs have more lines, captions fewer.


def read_sidecars(file: SourceFile, notes: Counter[str]) -> dict[str, Any]:
    """Fields of `TrackMetadata` from the files beside a track; those of the JSON file win.

    Any tool may leave a .json or .txt file there, so what is not metadata does not cost the track.

    Args:
        file: The track.
        notes: Counts what is not used, by reason.
    """
    fields: dict[str, Any] = {}
    for place, parse in ((file.caption_sidecar, _captions), (file.json_sidecar, _metadata)):
        if not place:
            continue
        try:
            fields |= parse(read_small(place, MAX_BYTES), place, notes)
        except (InputError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error).replace(place, "it").rstrip(".")
            notes[f"sidecar file: {reason}"] += 1
    return fields


def _captions(data: bytes, place: str, notes: Counter[str]) -> dict[str, Any]:
    """Each line that is not empty is a caption."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8 text") from error
    lines = [line for line in map(clean_text, text.splitlines()) if line]
    if len(lines) > _MAX_LINES:
        raise ValueError(f"more than {_MAX_LINES} lines are not captions")
    return {"descriptions": tuple(dict.fromkeys(lines))} if lines else {}


def _metadata(data: bytes, place: str, notes: Counter[str]) -> dict[str, Any]:
    ignored = Ignored()
    fields = parse_metadata(parse_json(data), place, ignored)
    for value, number in ignored.values.items():
        notes[f"sidecar file: {value}"] += number
    return fields
