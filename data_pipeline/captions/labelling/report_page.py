"""The report on labels as a page: tables, plots, and clips to listen to beside their captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from data_pipeline.captions.labelling.report_content import (
    ACCURACY_HEAD,
    ACCURACY_NOTE,
    USE_HEAD,
    LabelledClip,
    VocabularyUse,
)
from lightning_n2m.data.schema import Shard
from lightning_n2m.data.shard_reader import ShardFile, read_shard
from lightning_n2m.html_page import cards, escape, image, page, player, table
from lightning_n2m.storage import Location, write_atomic

_MAX_BYTES = 2_000_000_000  # of shards that are read for the audio of the clips


def write_page(
    folder: Path,
    summary: str,
    sections: Sequence[VocabularyUse],
    examples: Sequence[LabelledClip],
    source: Location | None,
) -> None:
    """Write ``index.html`` and the audio of its clips.

    Args:
        folder: Folder of the report.
        summary: What was labelled by what.
        sections: Use and accuracy of each vocabulary.
        examples: Clips to show.
        source: Folder of the shards; none for a page without audio.
    """
    body = ["<h1>Labels</h1>", f"<p>{escape(summary)}</p>"]
    numbers = range(1, len(USE_HEAD))
    for section in sections:
        alt = f"How often captions of {section.name} are used, on logarithmic axes"
        body += [
            f"<h2>{escape(section.name)}: {section.size} captions</h2>",
            table(USE_HEAD, [[escape(cell) for cell in row] for row in section.use], numbers),
            image(section.plot, alt),
        ]
        if section.accuracy:
            rows = [[escape(cell) for cell in row] for row in section.accuracy]
            body += [f"<p>{ACCURACY_NOTE}</p>", table(ACCURACY_HEAD, rows, numbers)]
    audio = {} if source is None else _write_audio(folder, examples, source)
    body.append(f"<h2>{len(examples)} clips at random</h2>")
    order = sorted(examples, key=lambda clip: clip.title.casefold())
    body.append(cards(_clip(clip, audio.get(clip.key)) for clip in order))
    write_atomic(folder / "index.html", page("Labels", body))


def _clip(clip: LabelledClip, audio: str | None) -> str:
    parts = [
        f"<h3>{escape(clip.title)}</h3>",
        player(audio, f"Clip {clip.key}") if audio else "",
        f"<p>{escape(clip.known)} <small>({escape(clip.shard.split)}, {escape(clip.key)})</small></p>",
    ]
    for vocabulary, captions in clip.captions.items():
        items = "".join(f"<li>{escape(caption)}</li>" for caption in captions)
        parts.append(f"<p><small>{escape(vocabulary)}</small></p><ul>{items}</ul>")
    return "".join(parts)


def _write_audio(folder: Path, examples: Sequence[LabelledClip], source: Location) -> dict[str, str]:
    """Audio of the clips by key, as names of files; shards beyond 2 GB in sum are not read."""
    by_shard: dict[Shard, set[str]] = {}
    for clip in examples:
        by_shard.setdefault(clip.shard, set()).add(clip.key)
    names: dict[str, str] = {}
    total = 0
    for shard, keys in by_shard.items():
        total += shard.bytes
        if total > _MAX_BYTES:
            break
        missing = set(keys)
        for raw in read_shard(ShardFile(source, shard)):
            if raw.clip.key in missing:
                ending = "flac" if raw.audio[:4] == b"fLaC" else "ogg"
                names[raw.clip.key] = f"{raw.clip.key}.{ending}"
                write_atomic(folder / names[raw.clip.key], raw.audio)
                missing.remove(raw.clip.key)
            if not missing:
                break
    return names
