"""Select those sentences of a language model's answers that are likely to describe how music sounds."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from data_pipeline.captions.vocabulary.examples import PREFIX, Song
from data_pipeline.captions.vocabulary.table import Caption

FEWEST, MOST = 5, 30  # Words of a sentence.

_INSTRUMENTS = """
accordion bagpipes? banjo bandoneon bass bassoon bells? bongos? brass celesta cello choir clarinet congas?
cymbals? drums? drumming fiddle flutes? glockenspiel guitars? harmonica harp harpsichord horns? keyboards?
mandolin marimba oboe orchestra organ percussion percussive piano piccolo recorder saxophones? sax sitar
snare strings synths? synthesi[sz]ers? tambourine timpani trombone trumpets? tuba ukulele vibraphone viola
violins? whistle woodwinds? xylophone
"""
_GENRES = """
ambient blues bluesy ballad bluegrass bossa boogie-woogie cha-cha chiptune choral classical country dance
disco drone dubstep edm electro electronic electronica folk funk funky fusion gospel grunge hip-hop house
hymn indie industrial jazz jazzy jig latin lullaby march metal minuet new-age nocturne opera orchestral
polka pop prog psychedelic punk ragtime rap reggae rock rumba salsa samba ska soul soulful soundtrack swing
symphonic synth-pop tango techno trance waltz
"""
_SUBJECTS = """
beats? groove grooves harmony melod(?:y|ies) mood music rhythms? song sound sounds tempo track tune voices?
vocals?
"""
_QUALITIES = """
angry atmospheric bright calm cheerful dark dramatic dreamy driving energetic fast gentle happy haunting heavy
hypnotic intense joyful lively loud melancholy mellow moody mournful mysterious nostalgic peaceful playful
quiet relaxed relaxing romantic sad slow smooth soft solemn sombre steady tender tense upbeat uplifting warm
"""
_SOUND = """
acoustic arpeggios? bassline beats? bpm chords? chorus crescendo distorted drone fanfares? groove grooves
groovy harmony harmonies instrumental instruments? melancholic melod(?:y|ies|ic) minor mid-tempo major
off-beat pads? pulsing reverb rhythms? rhythmic riffs? solo sound sounds staccato tempo theme tune up-tempo
vocals? voices? vocalist
"""


def _words(text: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{'|'.join(text.split())})\b", re.IGNORECASE)


_NAMES_MUSIC = _words(_INSTRUMENTS + _GENRES + _SUBJECTS)
_MUSICAL = _words(_INSTRUMENTS + _GENRES + _SUBJECTS + _QUALITIES + _SOUND)
_TALK = re.compile(
    r"\b(?:i|i'm|i've|me|my|you|your|we|our|us|let's|assistant|examples?|descriptions?|sentences?|lyrics?|"
    r"written|wrote|composed|composer|recorded|recording|performed|released?|albums?|chart|video|titled?|"
    r"called|named|artist|singer-songwriter|band'?s|about (?:a|the|life|love)|he|she|his|her|they|their|"
    r"story|stories|poem|character|film by|music by|song by|piece by|track by|note that)\b",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[A-Za-z0-9 ,;:'’()&%/#-]+\.")
_NUMBER = re.compile(r"\b\d{3,}s?\b|\b(?:19|20)\d\d\b|#\d")
_SPLIT = re.compile(r"(?<=[.!?])[\"'”’)]*\s+")
_STOPWORDS = """
a an and the of with in is are it its this to for by on over as that at from or but be has have
"""


@dataclass
class Cleaned:
    """Sentences that were kept, the number dropped by reason, and the number of all sentences."""

    captions: list[Caption] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    sentences: int = 0


def split(answer: str) -> list[str]:
    """Sentences of the first paragraph of an answer; later paragraphs are on other subjects."""
    first = answer.strip().split("\n")[0]
    return [sentence.strip() for sentence in _SPLIT.split(first) if sentence.strip()]


def fault(sentence: str, song: Song | None = None) -> str | None:
    """The reason to drop a sentence; None to keep it.

    Args:
        sentence: One sentence.
        song: The song that it describes: a caption that names it fits no other song.
    """
    if sentence[-1:] not in (".", "!"):
        return "unfinished"
    words = re.findall(r"[\w'’-]+", sentence.lower())
    if len(words) < FEWEST:
        return "too short"
    if len(words) > MOST:
        return "too long"
    if not _PLAIN.fullmatch(sentence.replace("!", ".")):
        return "strange characters"
    if song is not None and any(
        len(name) > 3 and re.search(rf"\b{re.escape(name)}\b", sentence, re.IGNORECASE)
        for name in (song.title, song.artist)
    ):
        return "names the song"
    if _TALK.search(sentence) or _NUMBER.search(sentence):
        return "not on how it sounds"
    if not _NAMES_MUSIC.search(sentence) or len({m.group().lower() for m in _MUSICAL.finditer(sentence)}) < 2:
        return "not on music"
    content = Counter(word for word in words if word not in _STOPWORDS.split())
    if any(count > 2 for count in content.values()) or len(content) < 0.7 * content.total():
        return "repeats itself"
    return None


def clean(answers: Iterable[tuple[Song, str]]) -> Cleaned:
    """Split answers into sentences, and keep those that describe how music sounds, once each.

    Args:
        answers: Songs, each with its answer.
    """
    result = Cleaned()
    # Sentences of the examples are not captions: a weak model repeats them.
    known = {Caption(sentence, "lm-lf", "").identity for sentence in _SPLIT.split(PREFIX)}
    known |= {Caption(part.partition(": ")[2], "lm-lf", "").identity for part in _SPLIT.split(PREFIX)}
    for song, answer in answers:
        for sentence in split(answer):
            result.sentences += 1
            caption = Caption(sentence[:1].upper() + sentence[1:], "lm-lf", song.line)
            reason = fault(sentence, song)
            if reason is None and caption.identity in known:
                reason = "repetition"
            if reason is not None:
                result.dropped[reason] += 1
                continue
            known.add(caption.identity)
            result.captions.append(caption)
    return result
