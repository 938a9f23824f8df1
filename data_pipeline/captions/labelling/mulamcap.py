"""The labels in the form of MuLaMCap (appendix D of the paper): a data set of captions to publish."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from data_pipeline.captions.labelling.labels import Labels
from data_pipeline.captions.labelling.markdown import code_span, escape_markdown
from lightning_n2m.data.audioset import has_music_label
from lightning_n2m.data.schema import Clip, Shard
from lightning_n2m.storage import write_atomic

FILE, CARD = "captions.jsonl", "README.md"
_YOUTUBE = "https://www.youtube.com/watch?v="  # source of the clips of AudioSet and MusicCaps

_CARD = """\
# Captions of {clips} clips

Each line of `{file}` is a clip: `id` and `source` name the track, `start_s` and `end_s` the part of it in
seconds, `split` the split, and `captions` holds its captions by vocabulary. The audio is not included.

| vocabulary | candidate captions | captions used | captions per clip |
|---|---|---|---|
{rows}

## Method

`python -m data_pipeline label --mulamcap`, after MuLaMCap (Huang et al. 2023, section 3.6 and appendix D).
The joint music-text model {model} embedded clips and captions. The captions of a clip were drawn from its
{top} nearest captions, with probability inverse to how often a caption is among the nearest of any clip
(seed {seed}).

## Limitations

- No person has checked the captions: a joint model selected them, and the language model behind `lm-lf` had
  no access to the audio. Measure the share of correct captions before you rely on them; `--report` does so
  for rendered music.
- `rater-lf` and the aspects in `rater-sf` are words of MusicCaps' raters (CC BY-SA 4.0): keep the licence if
  they are included, and do not evaluate on MusicCaps a model that was trained on `rater-lf`.
- Each track keeps its own licence: {licences}.
"""


def is_music(clip: Clip) -> bool:
    """Whether a clip belongs into the data set: of AudioSet's clips, those with a label of appendix D.

    In AudioSet's evaluation split 4,968 of 20,371 segments have such a label; the paper's test set, made of
    videos that were still available, has 4,497. Clips of other collections are music.
    """
    labels = (*clip.genres, *clip.tags)
    is_audioset = clip.source.startswith(_YOUTUBE) and bool(labels) and not clip.descriptions
    return not is_audioset or has_music_label(labels)


def write_mulamcap(folder: Path, shards: Sequence[Shard], labels: Sequence[Labels]) -> None:
    """Write the labels of all vocabularies, and a data card.

    Args:
        folder: The folder to write to.
        shards: The shards that were labelled.
        labels: Their labels, by vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    licences: set[str] = set()
    for shard in shards:
        drawn = {item.texts.vocabulary: item.drawn(shard) for item in labels}
        for number, clip in enumerate(labels[0].clips(shard)):
            if not is_music(clip):
                continue
            licences.add(clip.licence or "unknown")
            line = {
                "id": clip.key,
                "source": without_credentials(clip.source),
                "start_s": clip.start_s,
                "end_s": round(clip.start_s + clip.duration_s, 6),
                "split": shard.split,
                "captions": {name: rows[number] for name, rows in drawn.items()},
            }
            # Halves of surrogate pairs, which damaged tags hold, have no UTF-8 form.
            text = json.dumps(line, ensure_ascii=False)
            lines.append(text.encode("utf-8", "replace").decode() + "\n")
    table = []
    for item in labels:
        numbers = (len(item.texts.texts), int((item.counts > 0).sum()), item.keep)
        table.append(f"| {item.texts.vocabulary} | " + " | ".join(map(str, numbers)) + " |")
    card = _CARD.format(
        clips=len(lines),
        file=FILE,
        rows="\n".join(table),
        model=code_span(labels[0].embeddings.name),
        top=labels[0].top,
        seed=labels[0].seed,
        licences=", ".join(map(escape_markdown, sorted(licences))),
    )
    write_atomic(folder / FILE, "".join(lines))
    write_atomic(folder / CARD, card)


def without_credentials(source: str) -> str:
    """The origin of a track without the user name, password and parameters that a URL may hold."""
    if "://" not in source or re.fullmatch(re.escape(_YOUTUBE) + r"[\w-]{1,16}", source):
        return source
    scheme, _, rest = source.partition("://")
    place = re.split(r"[?#]", rest, maxsplit=1)[0]
    host, slash, path = place.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
