"""The labels in the form of MuLaMCap (appendix D of the paper): a data set of captions to give away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from data_pipeline.captions.labelling.labels import Labels
from lightning_n2m.data.audioset import has_music_label
from lightning_n2m.data.schema import Clip, Shard
from lightning_n2m.storage import write_atomic

FILE, CARD = "captions.jsonl", "README.md"
_YOUTUBE = "https://www.youtube.com/watch?v="  # source of the clips of AudioSet and MusicCaps

_CARD = """\
# Captions of {clips} clips

Each line of `{file}` is a clip: `id` and `source` name the track, `start_s` and `end_s` the part of it in
seconds, `split` the split, and `captions` holds what was assigned, by vocabulary. The audio is not included.

| vocabulary | captions to choose from | captions used | captions of a clip |
|---|---|---|---|
{rows}

## How it was made

By `python -m data_pipeline label --mulamcap`, after MuLaMCap (Huang et al. 2023, section 3.6 and
appendix D). Clips and captions were embedded by the joint music-text model `{model}`; of the {top} nearest
captions of each clip those above were drawn with probability inverse to how often a caption is among the
nearest of any clip (seed {seed}).

## What to know before using it

- No human has listened: captions are guesses of a joint model, out of sentences that `lm-lf`'s language
  model wrote without hearing anything. Measure the share of right ones before you trust them; `--report`
  does so for rendered music.
- `rater-lf` and the aspects in `rater-sf` are words of MusicCaps' raters (CC BY-SA 4.0): keep the licence if
  they are in here, and do not evaluate on MusicCaps what was trained on `rater-lf`.
- The licences of the tracks stay theirs: {licences}.
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
        folder: Where to.
        shards: The shards that were labelled.
        labels: Their labels, by vocabulary.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines, licences = [], set()
    for shard in shards:
        drawn = {item.texts.vocabulary: item.drawn(shard) for item in labels}
        for number, clip in enumerate(labels[0].clips(shard)):
            if not is_music(clip):
                continue
            licences.add(clip.licence or "unknown")
            line = {
                "id": clip.key,
                "source": clip.source,
                "start_s": clip.start_s,
                "end_s": round(clip.start_s + clip.duration_s, 6),
                "split": shard.split,
                "captions": {name: found[number] for name, found in drawn.items()},
            }
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    rows = []
    for item in labels:
        numbers = (len(item.texts.texts), int((item.counts > 0).sum()), item.keep)
        rows.append(f"| {item.texts.vocabulary} | " + " | ".join(map(str, numbers)) + " |")
    card = _CARD.format(
        clips=len(lines),
        file=FILE,
        rows="\n".join(rows),
        model=labels[0].embeddings.name,
        top=labels[0].top,
        seed=labels[0].seed,
        licences=", ".join(sorted(licences)),
    )
    write_atomic(folder / FILE, "".join(lines))
    write_atomic(folder / CARD, card)
