"""The decoder of a file follows from its header."""

from __future__ import annotations

import struct

from lightning_n2m.audio.decoders import MP3_FRAMES, SNDFILE, WAV_HEADER, choose_decoder
from tests.audio.mp3_files import mp3, without_info
from tests.audio.wav_files import wav


def test_a_right_header_is_left_alone() -> None:
    chunk = b"LIST" + struct.pack("<I", 4) + b"INFO"
    for data in (wav(None), wav(None, tail=chunk), wav(None, tail=b"\0")):
        assert choose_decoder(data, ".wav") == SNDFILE
    assert choose_decoder(wav(0), ".wav") == WAV_HEADER


def test_a_file_with_a_right_header_is_left_to_libsndfile() -> None:
    for data in (mp3("soft", 5), mp3("loud", 5)):
        assert choose_decoder(data, ".mp3") == SNDFILE
    assert choose_decoder(without_info(mp3("soft", 3) + mp3("loud", 3)), ".mp3") == MP3_FRAMES
