"""Only music of AudioSet is published, without credentials."""

from __future__ import annotations

import pytest

from data_pipeline.captions.labelling.mulamcap import is_music, without_credentials
from lightning_n2m.data.schema import Clip

YOUTUBE = "https://www.youtube.com/watch?v=abc&t=30"


@pytest.mark.parametrize(
    ("source", "genres", "tags", "descriptions", "expected"),
    [
        (YOUTUBE, ("rock music",), ("music",), (), True),
        (YOUTUBE, (), ("speech", "music"), (), False),  # "music" alone is no label of appendix D
        (YOUTUBE, (), ("music", "piano", "speech"), (), True),  # one label is enough
        (YOUTUBE, (), ("loud",), ("A loud song.",), True),  # MusicCaps
        ("folder/song.mp3", (), ("speech",), (), True),  # another collection
    ],
)
def test_audioset_clips_need_a_label_of_appendix_d(source, genres, tags, descriptions, expected):
    clip = Clip(
        "0123456789abcdef",
        0,
        30.0,
        10.0,
        24_000,
        genres=genres,
        tags=tags,
        descriptions=descriptions,
        source=source,
    )
    assert is_music(clip) == expected


@pytest.mark.parametrize(
    ("source", "published"),
    [
        ("music/a@b.ogg", "music/a@b.ogg"),
        ("https://host/a.ogg", "https://host/a.ogg"),
        ("https://me@host/a.ogg", "https://host/a.ogg"),
        ("ftp://me:p@ss@host", "ftp://host"),
        ("https://www.youtube.com/watch?v=abc_DEF-123", "https://www.youtube.com/watch?v=abc_DEF-123"),
        ("https://www.youtube.com/watch?v=abc&key=1", "https://www.youtube.com/watch"),
        ("https://host/a@b.ogg?key=1", "https://host/a@b.ogg"),
    ],
)
def test_credentials_of_urls_are_not_published(source: str, published: str) -> None:
    assert without_credentials(source) == published
