"""Type, range and pattern of every field of the shard contract; `schema` applies them on reading."""

from __future__ import annotations

from lightning_n2m.data.json_fields import (
    Check,
    choice,
    free_object,
    integer,
    number,
    optional,
    sequence,
    text,
)

MAX_INDEX = 1 << 29  # Bytes of index.json: two million shards.
MAX_CAPTIONS = 1 << 28  # Bytes of a captions-*.jsonl.
MAX_LINE = 1 << 20  # Bytes of a KEY.json, or of a line of captions.
MAX_SECONDS = 3600.0  # Of one clip: 330 MiB once decoded.

# Part of file names: no slash, no dot, and no leading hyphen, which a program could take for an option.
_TRACK_ID = r"[0-9A-Za-z_][0-9A-Za-z_-]{0,63}"
_SHA256 = r"[0-9a-f]{64}"
_TEXTS = sequence(text())
_RATE = integer(1, 768_000)
_SHARE = optional(number(0, 1))

CLIP: dict[str, Check] = {
    "track_id": text(_TRACK_ID),
    "clip": integer(0, 9999),
    "start_s": number(0, 1e7),
    "duration_s": number(1e-6, MAX_SECONDS),
    "sample_rate": _RATE,
    "title": text(),
    "artist": text(),
    "album": text(),
    "year": text(),
    "genres": _TEXTS,
    "tags": _TEXTS,
    "descriptions": _TEXTS,
    "licence": text(),
    "source": text(),
    "truth": free_object(),
    "split": choice("train", "validation", "test", ""),
}

CAPTIONS: dict[str, Check] = {"key": text(_TRACK_ID + "-[0-9]{2,4}"), "long": _TEXTS, "short": _TEXTS}

SHARD: dict[str, Check] = {
    "name": text(r"audio-[0-9]{6,9}\.tar"),
    "split": choice("train", "validation", "test"),
    "clips": integer(0, 10_000_000),
    "seconds": number(0, 1e10),
    "bytes": integer(0, 1 << 50),
    "sha256": text(_SHA256),
}

_MEL = free_object(
    {
        "sample_rate": _RATE,
        "channels": integer(1, 4096),
        "window": integer(1, 1 << 20),
        "hop": integer(1, 1 << 20),
    }
)

INDEX: dict[str, Check] = {
    "shards": tuple,  # `schema` builds the shards first.
    "sample_rate": _RATE,
    "clip_seconds": number(1e-6, MAX_SECONDS),
    "settings": free_object(
        {
            "validation": _SHARE,
            "test": _SHARE,
            "sample_rate": _RATE,
            "mel": optional(_MEL),
            "parents": text(_SHA256),
        }
    ),
    "format": integer(1, 1),
}
