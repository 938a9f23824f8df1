"""Prompts with the real music they belong to: the paper's three sets, and a corpus's held-out tracks."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from torch import Tensor

from lightning_n2m.data.clip_audio import probe_clip
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet, load_clip
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.evaluation.prompt_attributes import parse_prompt
from lightning_n2m.seeding import derive_seed

_AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")


class Starter(EvaluationSet):
    """Held-out tracks of a corpus whose truth is known, such as the starter's.

    Of each clip's sentences the one that says most is its prompt; of every second clip, one that gives a
    tempo in beats a minute, if there is any. Rendered and recorded music never
    meet: they lie further apart than good and bad music do.

    Args:
        shards: Folder of shards.
        clips: Prompts; the paper's sets have thousands, two CPU cores do not have the time.
        seconds: Length to generate.
        domain: ``rendered`` music, of known truth, or ``recorded``.
        splits: Splits that are held out.
    """

    def __init__(
        self,
        shards: str,
        clips: int = 128,
        seconds: float = 10.24,
        domain: Literal["rendered", "recorded"] = "rendered",
        splits: tuple[str, ...] = ("test", "validation"),
    ) -> None:
        self.name = f"starter, {domain}"
        self.shards, self.clips, self.seconds = shards, clips, seconds
        self.domain, self.splits, self.training = domain, splits, [shards]

    def belongs(self, clip: Clip) -> bool:
        """Whether a clip is of this domain."""
        return bool(clip.truth) == (self.domain == "rendered")

    def items(self) -> list[EvaluationItem]:
        """Held-out clips with the sentence that says most about each."""
        found = [
            EvaluationItem(raw.clip.key, _prompt(raw.clip), raw.clip.truth, str(file.path))
            for split in self.splits
            for file in find_shards([self.shards], split)
            for raw in read_shard(file)
            if self.belongs(raw.clip)
        ]
        return self._chosen(found, self.clips)

    def real(self, items: list[EvaluationItem], sample_rate: int) -> Iterator[tuple[str, Tensor]]:
        """Keys and real audio ``(1, t)``, shard by shard."""
        wanted = {item.key for item in items}
        for split in self.splits:
            for file in find_shards([self.shards], split):
                for raw in read_shard(file):
                    if raw.clip.key in wanted:
                        probe_clip(raw)
                        yield raw.clip.key, load_clip(raw.audio, sample_rate)


def _prompt(clip: Clip) -> str:
    return telling(clip, tempo=derive_seed("tempo", clip.key) % 2 == 0)


def telling(clip: Clip, tempo: bool = False) -> str:
    """The sentence that asks for most, or gives a tempo if one should; where there is none, the tags."""
    genres = (str(clip.truth["genre"]),) if "genre" in clip.truth else clip.genres
    sentences = clip.descriptions or (", ".join([*clip.genres, *clip.tags]) or clip.title,)
    asked = {sentence: parse_prompt(sentence, genres) for sentence in sentences}
    return max(
        asked, key=lambda sentence: (tempo and asked[sentence].tempo is not None, asked[sentence].facts)
    )


class MusicCaps(EvaluationSet):
    """MusicCaps (Agostinelli et al. 2023): 5.5K clips of 10 s, described by musicians.

    Args:
        captions: ``musiccaps-public.csv``.
        audio: Folder of the clips, named ``YTID.wav`` or the like.
        clips: How many; all when null.
        seconds: Length to generate.
    """

    def __init__(self, captions: str, audio: str, clips: int | None = None, seconds: float = 30.0) -> None:
        self.name, self.training = "MusicCaps", []
        self.captions, self.audio, self.clips, self.seconds = captions, audio, clips, seconds

    def items(self) -> list[EvaluationItem]:
        """ClipPairs whose audio is there, with their captions."""
        places = _files(self.audio)
        rows = _table(self.captions, ("ytid", "caption"))
        found = [
            EvaluationItem(row["ytid"], row["caption"], {}, places[row["ytid"]])
            for row in rows
            if row["ytid"] in places
        ]
        return self._chosen(found, self.clips)


class MagnaTagATune(EvaluationSet):
    """MagnaTagATune (Law et al. 2009): clips of 29 s; those with several of its 188 tags, joined by commas.

    The judging tagger was trained on this music: take its figures here with care.

    Args:
        annotations: ``annotations_final.csv``.
        audio: Folder that its ``mp3_path`` column is relative to.
        clips: How many; all when null.
        seconds: Length to generate.
    """

    def __init__(self, annotations: str, audio: str, clips: int | None = None, seconds: float = 29.0) -> None:
        self.name, self.training = "MagnaTagATune", []
        self.annotations, self.audio, self.clips, self.seconds = annotations, audio, clips, seconds

    def items(self) -> list[EvaluationItem]:
        """ClipPairs with two tags or more whose audio is there."""
        found = []
        for row in _table(self.annotations, ("clip_id", "mp3_path"), delimiter="\t"):
            tags = [tag for tag, given in row.items() if given == "1" and tag not in ("clip_id", "mp3_path")]
            place = Path(self.audio) / row["mp3_path"]
            if len(tags) > 1 and place.is_file():
                found.append(EvaluationItem(row["clip_id"], ", ".join(tags), {}, str(place)))
        return self._chosen(found, self.clips)


class AudioSetMusic(EvaluationSet):
    """The music of AudioSet's evaluation split (Gemmeke et al. 2017): clips of 10 s, labelled as music only.

    The paper gives 1,482 clips and not the rule by which they were chosen.

    Args:
        segments: ``eval_segments.csv``.
        ontology: ``ontology.json``.
        audio: Folder of the clips, named ``YTID.wav`` or the like.
        clips: How many; all when null.
        seconds: Length to generate.
    """

    def __init__(
        self, segments: str, ontology: str, audio: str, clips: int | None = None, seconds: float = 30.0
    ) -> None:
        self.name, self.training = "AudioSet-Music", []
        self.segments, self.ontology, self.audio = segments, ontology, audio
        self.clips, self.seconds = clips, seconds

    def items(self) -> list[EvaluationItem]:
        """Music clips whose audio is there; their labels, joined by commas, are the prompts."""
        names = self._music()
        places = _files(self.audio)
        found = []
        for line in _text(self.segments).splitlines():
            fields = [part.strip().strip('"') for part in line.split(",")]
            if line.startswith("#") or len(fields) < 4:
                continue
            key, labels = fields[0], fields[3:]
            if key in places and all(label in names for label in labels):
                found.append(EvaluationItem(key, ", ".join(names[x] for x in labels), {}, places[key]))
        return self._chosen(found, self.clips)

    def _music(self) -> dict[str, str]:
        """Names of all classes below Music, by identity."""
        try:
            nodes = {node["id"]: node for node in json.loads(_text(self.ontology))}
            ahead = [next(key for key, node in nodes.items() if node["name"] == "Music")]
            found = {}
            while ahead:
                key = ahead.pop()
                found[key] = nodes[key]["name"]
                ahead += nodes[key]["child_ids"]
        except (ValueError, KeyError, TypeError, StopIteration) as error:
            raise InputError(f"{self.ontology} is not AudioSet's ontology.json ({error!r}).") from error
        return found


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the evaluation set's own file.") from error


def _table(path: str, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    rows = list(csv.DictReader(io.StringIO(_text(path), newline=""), delimiter=delimiter))
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise InputError(f"{path} has no column '{missing[0]}'; give the evaluation set's own file.")
    return rows


def _files(folder: str) -> dict[str, str]:
    """Sound files of a folder by their stems."""
    if not Path(folder).is_dir():
        raise InputError(f"The folder {folder} does not exist; give the one with the evaluation set's audio.")
    return {path.stem: str(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in _AUDIO}
