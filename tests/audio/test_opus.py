"""Opus streams are the same for the same audio."""

from __future__ import annotations

import numpy as np

from lightning_n2m.audio.io import encode, read
from lightning_n2m.audio.opus import encode_opus, renumber
from tests.paths import CLIPS


def test_a_renumbered_stream_decodes_as_before() -> None:
    """Decoders check the checksum of every page."""
    audio = read(CLIPS / "waltz.ogg", 0, 24_000 * 5).samples
    data = encode(audio, 24_000, "OGG", "OPUS")
    again = renumber(data, 0xDEADBEEF)
    assert again[14:18] == b"\xef\xbe\xad\xde"
    assert np.array_equal(read(again).samples, read(data).samples)
    assert renumber(renumber(data, 7), 9) == renumber(data, 9)
    assert encode_opus(audio, 24_000, 32) == encode_opus(audio, 24_000, 32)
    assert len(encode_opus(audio, 24_000, 32)) < len(encode_opus(audio, 24_000, 128)) / 2
