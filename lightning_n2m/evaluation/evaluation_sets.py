"""Prompts with their reference recordings: the paper's three sets, and held-out tracks of a shard folder."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from torch import Tensor

from lightning_n2m.data.audioset import MUSIC, music_labels
from lightning_n2m.data.evaluation_set import EvaluationItem, EvaluationSet, decode_clip
from lightning_n2m.data.prompt_attributes import parse_prompt
from lightning_n2m.data.schema import Clip
from lightning_n2m.data.shard_reader import ShardFile, find_shards, read_shard
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import derive_seed

_AUDIO = (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a")
_LABEL = re.compile(r"/[gmt]/\w+")

Domain = Literal["rendered", "recorded"]


class Starter(EvaluationSet):
    """Held-out tracks of a shard folder: the starter corpus, or your own.

    The prompt of a clip is the most specific of its sentences; for every second clip, one that names a tempo
    in beats per minute, if there is one. Rendered music (whose truth is known) and recorded music are
    evaluated separately: they lie further apart than good and bad music do.

    Args:
        shards: Folder of shards.
        clips: Number of prompts; the paper's sets have thousands, too many for two CPU cores.
        seconds: Length of the generated clips.
        domain: ``rendered`` music, of known truth, or ``recorded``; null for rendered music if there is any.
        splits: Splits that are held out; those that the folder does not have are skipped.
        for_choices: Only clips of the validation split that the set with its default settings does not
            hold: settings that are chosen on them can still be evaluated on that set.
    """

    def __init__(
        self,
        shards: str,
        clips: int = 128,
        seconds: float = 10.24,
        domain: Domain | None = None,
        splits: tuple[str, ...] = ("test", "validation"),
        for_choices: bool = False,
    ) -> None:
        self.for_choices = for_choices
        self.shards, self.clips, self.seconds = shards, clips, seconds
        self.splits = ("validation",) if for_choices else splits
        self.training = [shards]
        self._domain: Domain | None = domain
        self._held_out: list[EvaluationItem] | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        """Name of the set, with its domain."""
        return f"held-out tracks, {self.domain}"

    @property
    def domain(self) -> Domain:
        """Domain of the prompts: as given, or rendered music if any held-out clip has known truth."""
        if self._domain is None:
            self._domain = "rendered" if any(item.truth for item in self._read()) else "recorded"
        return self._domain

    def has_domain(self, clip: Clip) -> bool:
        """Whether a clip belongs to the domain of the prompts."""
        return bool(clip.truth) == (self.domain == "rendered")

    def items(self) -> list[EvaluationItem]:
        """Held-out clips with the most specific sentence of each."""
        items = [item for item in self._read() if bool(item.truth) == (self.domain == "rendered")]
        if self.for_choices:
            evaluated = {item.key for item in Starter(self.shards, domain=self.domain).items()}
            items = [item for item in items if item.key not in evaluated]
        return self._select(items, self.clips, f"starter, {self.domain}")

    def references(self, items: Sequence[EvaluationItem], sample_rate: int) -> Iterator[tuple[str, Tensor]]:
        """Keys and reference audio ``(1, t)``, shard by shard."""
        wanted = {item.key for item in items}
        for file in self.held_out_shards():
            for raw in read_shard(file):
                if raw.clip.key in wanted:
                    yield raw.clip.key, decode_clip(raw, sample_rate)

    def held_out_shards(self) -> list[ShardFile]:
        """Shards of all held-out splits that the folder has.

        Raises:
            InputError: if it has none, or is no shard folder.
        """
        files: list[ShardFile] = []
        missing: InputError | None = None
        for split in self.splits:
            try:
                files += find_shards([self.shards], split)
            except InputError as error:
                missing = missing or error
        if missing is not None and not files:
            raise missing
        return files

    def _read(self) -> list[EvaluationItem]:
        """All held-out clips; the shards are read once."""
        if self._held_out is None:
            self._held_out = [
                EvaluationItem(
                    raw.clip.key, _prompt(raw.clip), raw.clip.truth, str(file.path), raw.clip.duration_s
                )
                for file in self.held_out_shards()
                for raw in read_shard(file)
            ]
        return self._held_out


def _prompt(clip: Clip) -> str:
    return most_specific_sentence(clip, tempo=derive_seed("tempo", clip.key) % 2 == 0)


def most_specific_sentence(clip: Clip, tempo: bool = False) -> str:
    """The sentence of a clip that names most attributes; its tags if it has no sentences.

    Args:
        clip: The clip.
        tempo: Prefer a sentence that names a tempo.
    """
    genres = (str(clip.truth["genre"]),) if "genre" in clip.truth else clip.genres
    sentences = clip.descriptions or (", ".join([*clip.genres, *clip.tags]) or clip.title,)
    attributes = {sentence: parse_prompt(sentence, genres) for sentence in sentences}
    return max(
        attributes,
        key=lambda sentence: (
            tempo and attributes[sentence].tempo is not None,
            attributes[sentence].count,
        ),
    )


class MusicCaps(EvaluationSet):
    """MusicCaps (Agostinelli et al. 2023): 5.5K clips of 10 s, described by musicians.

    Args:
        captions: ``musiccaps-public.csv``.
        audio: Folder of the clips, named ``YTID.wav`` or the like.
        clips: Number of prompts; all when null.
        seconds: Length of the generated clips.
    """

    def __init__(self, captions: str, audio: str, clips: int | None = None, seconds: float = 30.0) -> None:
        self.name, self.training = "MusicCaps", []
        self.captions, self.audio, self.clips, self.seconds = captions, audio, clips, seconds

    def items(self) -> list[EvaluationItem]:
        """Captions of the clips whose audio exists."""
        files = _audio_files(self.audio)
        items = [
            EvaluationItem(row["ytid"], row["caption"], {}, files[row["ytid"]])
            for row in _read_table(self.captions, ("ytid", "caption"))
            if row["ytid"] in files
        ]
        return self._select(items, self.clips)


class MagnaTagATune(EvaluationSet):
    """MagnaTagATune (Law et al. 2009): whole clips of 29 s with several of its 188 tags, joined by commas.

    The evaluating tagger was trained on this music: its values on this set are biased.

    Args:
        annotations: ``annotations_final.csv``.
        audio: Folder that its ``mp3_path`` column is relative to.
        clips: Number of prompts; all when null.
        seconds: Length of the generated clips, all of which is evaluated.
    """

    def __init__(self, annotations: str, audio: str, clips: int | None = None, seconds: float = 29.0) -> None:
        self.name, self.training = "MagnaTagATune", []
        self.annotations, self.audio, self.clips, self.seconds = annotations, audio, clips, seconds
        self.excerpt_seconds = seconds

    def items(self) -> list[EvaluationItem]:
        """Clips with two tags or more whose audio exists inside the folder."""
        items, folder = [], Path(self.audio).resolve()
        for row in _read_table(self.annotations, ("clip_id", "mp3_path"), delimiter="\t"):
            tags = [tag for tag, value in row.items() if value == "1" and tag not in ("clip_id", "mp3_path")]
            file = Path(self.audio) / row["mp3_path"]
            if len(tags) > 1 and folder in file.resolve().parents and file.is_file():
                items.append(EvaluationItem(row["clip_id"], ", ".join(tags), {}, str(file)))
        return self._select(items, self.clips)


class AudioSetMusic(EvaluationSet):
    """The music of AudioSet's evaluation split (Gemmeke et al. 2017): clips of 10 s.

    The paper used 1,482 clips and gives the labels of its appendix D, but not the rule. Here a clip counts if
    it is labelled as music and all its other labels, one at least, are among the 130 of appendix D. Of the
    20,371 segments this rule selects 1,595, which comes nearest to the paper among the rules tried that
    leave room for videos that are no longer available (appendix D's labels only, without "Music": 1,398;
    music and any label of appendix D: 3,166; any label of appendix D: 4,968).

    Args:
        segments: ``eval_segments.csv``.
        audio: Folder of the clips, named ``YTID.wav`` or the like.
        clips: Number of prompts; all when null.
        seconds: Length of the generated clips.
        ontology: Not used any more; accepted for configs of earlier versions.
    """

    def __init__(
        self,
        segments: str,
        audio: str,
        clips: int | None = None,
        seconds: float = 30.0,
        ontology: str | None = None,
    ) -> None:
        self.name, self.training = "AudioSet-Music", []
        self.segments, self.audio, self.clips, self.seconds = segments, audio, clips, seconds

    def items(self) -> list[EvaluationItem]:
        """Music clips whose audio exists; their labels of appendix D, joined by commas, are the prompts."""
        names, files, items = music_labels(), _audio_files(self.audio), []
        for line in _read_text(self.segments).splitlines():
            key, _, rest = line.partition(",")
            labels = _LABEL.findall(rest)
            if key not in files or not is_music_only(labels):
                continue
            prompt = ", ".join(names[label] for label in labels if label != MUSIC)
            items.append(EvaluationItem(key, prompt, {}, files[key]))
        return self._select(items, self.clips)


def is_music_only(labels: Sequence[str]) -> bool:
    """Whether a clip is labelled as music, with at least one label of appendix D and no other label."""
    others = set(labels) - {MUSIC}
    return MUSIC in labels and bool(others) and others <= music_labels().keys()


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); give the evaluation set's own file.") from error


def _read_table(path: str, columns: tuple[str, ...], delimiter: str = ",") -> list[dict[str, str]]:
    """Rows of a table that have all of these columns; the table must have them."""
    try:
        rows = list(csv.DictReader(io.StringIO(_read_text(path), newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise InputError(f"{path} is damaged ({error}); give the evaluation set's own file.") from error
    missing = [column for column in columns if not rows or column not in rows[0]]
    if missing:
        raise InputError(f"{path} has no column '{missing[0]}'; give the evaluation set's own file.")
    return [row for row in rows if all(row[column] for column in columns)]


def _audio_files(folder: str) -> dict[str, str]:
    """Sound files of a folder by their stems."""
    if not Path(folder).is_dir():
        raise InputError(f"The folder {folder} does not exist; give the one with the evaluation set's audio.")
    return {path.stem: str(path) for path in sorted(Path(folder).iterdir()) if path.suffix.lower() in _AUDIO}
