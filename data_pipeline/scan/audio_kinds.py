"""Which files of a collection are audio, archives, or something else: by ending, or by their first bytes."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

# Endings of audio that libsndfile or ffmpeg decodes.
AUDIO = frozenset((
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".ogx", ".opus", ".spx", ".mp3",
    ".mp2", ".mp1", ".mpga", ".m2a", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".m4a", ".m4b",
    ".m4r", ".m4p", ".mp4", ".3gp", ".3ga", ".3g2", ".aac", ".adts", ".aax", ".wma", ".asf", ".ape", ".wv",
    ".tta", ".mka", ".webm", ".weba", ".ac3", ".eac3", ".ec3", ".dts", ".dtshd", ".thd", ".mlp", ".dsf",
    ".dff", ".amr", ".awb", ".ra", ".rm", ".ram", ".mpc", ".mp+", ".mpp", ".ofr", ".tak", ".shn", ".la",
    ".voc", ".vox", ".gsm", ".qcp", ".oma", ".aa3", ".at3", ".at9", ".xwma", ".iff", ".8svx", ".16sv",
    ".svx", ".sd2", ".sf", ".ircam", ".pvf", ".paf", ".nist", ".sph", ".mat4", ".mat5", ".htk", ".avr",
    ".sds", ".xi", ".adx", ".brstm", ".hca", ".g722", ".g726", ".aptx", ".sbc", ".nut", ".wsaud", ".vqf",
    ".tun", ".loas", ".latm",
))  # fmt: skip
ARCHIVES = frozenset((
    ".zip", ".rar", ".7z", ".gz", ".tgz", ".bz2", ".tbz", ".tbz2", ".xz", ".txz", ".zst", ".tzst", ".lz",
    ".lzma", ".lz4", ".iso", ".cab", ".arj", ".lha", ".lzh", ".ace",
))  # fmt: skip
TAR = ".tar"
HEAD = 64  # Bytes that `is_audio_head` looks at.
_MPEG = re.compile(rb"\xff[\xe2-\xe7\xf2-\xff][\x10-\xeb]")


def ending(name: str) -> str:
    """The ending of a file name in lower case, with its dot; empty where there is none.

    "Symphony No. 5" has none: an ending is one word of at most eight letters and digits.
    """
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if re.fullmatch(r"\.[\w+]{1,8}", suffix) and not suffix[1:].isdigit() else ""


def is_audio_head(head: bytes) -> bool:
    """Whether a file begins as audio does."""
    if head.startswith(
        (b"fLaC", b"OggS", b"ID3", b"caff", b"wvpk", b"MAC ", b"TTA1", b"\x1aE\xdf\xa3", b".snd")
    ):
        return True
    if head.startswith(
        (b"#!AMR", b"DSD ", b"ADIF", b"MPCK", b"MP+", b"tBaK", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11")
    ):
        return True
    if head[:4] in (b"RIFF", b"RF64", b"RIFX", b"BW64"):
        return head[8:12] == b"WAVE"
    if head.startswith(b"FORM"):
        return head[8:12] in (b"AIFF", b"AIFC", b"8SVX")
    return head[4:8] == b"ftyp" or bool(_MPEG.match(head))
