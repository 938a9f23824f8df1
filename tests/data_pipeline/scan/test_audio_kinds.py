"""Endings and first bytes of audio files."""

from __future__ import annotations

from data_pipeline.scan.audio_kinds import ending, is_audio_head


def test_endings_are_words() -> None:
    assert [ending(name) for name in ("a.WAV", "No. 5", "x.5", "a", "a.mp+", "v1.2 final", ".wav")] == [
        ".wav", "", "", "", ".mp+", "", "",
    ]  # fmt: skip
    assert not is_audio_head(b"")
    assert not is_audio_head(b"\xff\xff\xff\xff")
