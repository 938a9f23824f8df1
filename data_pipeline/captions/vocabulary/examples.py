"""The few-shot prompt of the language model: twelve songs with descriptions, then one song (appendix C).

The wording is original and the songs are invented. The form is the paper's: title, artist, and two to four
sentences on genre, mood, instruments, voices and tempo.
"""

from __future__ import annotations

from dataclasses import dataclass

UNKNOWN_ARTIST = "an unknown artist"


@dataclass(frozen=True)
class Song:
    """What the prompt holds of a song: its title and artist."""

    title: str
    artist: str = ""

    @property
    def line(self) -> str:
        """The song as a line of the prompt names it."""
        return f'"{self.title}" by {self.artist or UNKNOWN_ARTIST}'


_EXAMPLES: tuple[tuple[Song, str], ...] = (
    (
        Song("Harbour Lights at Five", "The Tin Whistles"),
        "A gentle folk waltz led by a tin whistle over strummed acoustic guitar. The mood is nostalgic and "
        "warm, and the tempo is slow.",
    ),
    (
        Song("Night Shift", "Volt Parade"),
        "A driving techno track with a pounding kick drum and an acid bass line. Bright synthesizer stabs "
        "come and go above a hypnotic groove. It is dark, fast and made for dancing.",
    ),
    (
        Song("Blue Kitchen", "Earl Dawson Trio"),
        "A relaxed swing jazz tune for piano, double bass and brushed drums. The piano improvises a playful "
        "solo over a walking bass line.",
    ),
    (
        Song("Paper Crowns", "Mina Vale"),
        "An upbeat pop song with a soft female voice, clapping drums and a catchy synthesizer hook. The "
        "chorus is bright and cheerful, and the beat is steady.",
    ),
    (
        Song("Rust and Thunder", "Iron Orchard"),
        "A heavy metal song with distorted guitars and fast double bass drumming. A rough male voice shouts "
        "over a dark minor riff. The mood is angry and intense.",
    ),
    (
        Song("Prelude for an Empty Hall", "Clara Winterfeld"),
        "A slow classical piece for solo piano in a minor key. Long, quiet chords carry a sad and lonely "
        "melody.",
    ),
    (
        Song("Corner Store Kings", "Big Lem"),
        "A laid-back hip hop track with a deep bass, crisp snare drums and a sampled soul melody. A male "
        "rapper speaks calmly over the beat.",
    ),
    (
        Song("Sunday Morning Train", "Ruby and the Railmen"),
        "A cheerful country song with banjo, fiddle and acoustic guitar. The rhythm section plays a bouncing "
        "two-beat at a lively tempo.",
    ),
    (
        Song("Praia de Inverno", "Trio Maresia"),
        "A smooth bossa nova with nylon-string guitar, soft percussion and a breathy flute. The harmony is "
        "jazzy and the atmosphere is calm and romantic.",
    ),
    (
        Song("The Gates of Morning", "Northern Symphony"),
        "A majestic orchestral piece in which brass fanfares rise above sweeping strings and timpani. It "
        "grows from a quiet opening to a triumphant climax, like the theme of an adventure film.",
    ),
    (
        Song("Under Glass", "Slow Machines"),
        "A dreamy ambient piece of long synthesizer pads and distant bells without any drums. The sound is "
        "spacious, peaceful and meditative.",
    ),
    (
        Song("Kingston Postcard", "The Tidewater Band"),
        "A sunny reggae tune with off-beat organ chords, a round electric bass and a trombone melody. The "
        "groove is relaxed and the mood is happy.",
    ),
)
_INTRODUCTION = (
    "Descriptions of pieces of music: how each one sounds, in two to four plain sentences about genre, mood, "
    "instruments, voices and tempo."
)

PREFIX = "\n\n".join([_INTRODUCTION, *(f"{song.line}: {text}" for song, text in _EXAMPLES)]) + "\n\n"


def query(song: Song) -> str:
    """The end of the prompt, after the examples: the song to describe."""
    return f"{song.line}:"
