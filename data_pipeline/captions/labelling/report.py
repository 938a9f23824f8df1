"""The report on labels: use of captions before and after the draw, their accuracy, and examples."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_pipeline.captions.labelling.label_accuracy import LabelAccuracy, measure_label_accuracy
from data_pipeline.captions.labelling.labels import Labels
from data_pipeline.captions.labelling.markdown import code_span, escape_markdown
from data_pipeline.captions.labelling.report_content import (
    ACCURACY_HEAD,
    ACCURACY_NOTE,
    USE_HEAD,
    LabelledClip,
    VocabularyUse,
)
from data_pipeline.captions.labelling.report_page import write_page
from lightning_n2m.data.schema import Shard
from lightning_n2m.storage import Location, write_atomic

_CLIPS = 20  # Clips that are shown.


@dataclass(frozen=True)
class Use:
    """How evenly captions are used.

    Args:
        counts: How often each caption is used.
    """

    counts: NDArray[np.int64]

    @property
    def coverage(self) -> float:
        """Share of the vocabulary that is used at all."""
        return float((self.counts > 0).mean())

    @property
    def entropy(self) -> float:
        """Entropy of the captions in use, in bits."""
        share = self.counts[self.counts > 0] / max(1, self.counts.sum())
        return float(-(share * np.log2(share)).sum())

    @property
    def top_share(self) -> float:
        """Share of all uses that the most used hundredth of the vocabulary has."""
        most = max(1, len(self.counts) // 100)
        return float(np.sort(self.counts)[::-1][:most].sum() / max(1, self.counts.sum()))


def write_report(
    folder: Path, shards: Sequence[Shard], labels: Sequence[Labels], source: Location | None = None
) -> None:
    """Write report.md, the same as a page (index.html), and their plots.

    Args:
        folder: The folder to write to.
        shards: The shards that were labelled.
        labels: Their labels, by vocabulary.
        source: Folder of the shards, from which the page takes the audio of its clips; none for no audio.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = sum(shard.clips for shard in shards)
    name, seed = labels[0].embeddings.name, labels[0].seed
    sections = [_vocabulary_use(folder, shards, item) for item in labels]
    examples = _examples(shards, labels)
    text = [
        "# Labels",
        f"{clips} clips in {len(shards)} shards, labelled by {code_span(name)}, seed {seed}.",
    ]
    for section in sections:
        text += _markdown(section)
    text.append(f"## {len(examples)} clips at random")
    text += [_markdown_clip(example) for example in examples]
    write_atomic(folder / "report.md", "\n\n".join(text) + "\n")
    summary = f"{clips} clips in {len(shards)} shards, labelled by {name}, seed {seed}."
    write_page(folder, summary, sections, examples, source)


def _vocabulary_use(folder: Path, shards: Sequence[Shard], item: Labels) -> VocabularyUse:
    size, name = len(item.texts.texts), item.texts.vocabulary
    uses = {
        f"the {item.keep} nearest": Use(_counted(size, (item.nearest(s)[:, : item.keep] for s in shards))),
        f"the {item.top} nearest": Use(item.counts),
        f"{item.keep} of {item.top}, drawn": Use(_counted(size, (item.positions(s) for s in shards))),
    }
    plot = f"{name}.png"
    _plot_use(folder / plot, uses, name)
    rows = [
        [
            kind,
            f"{100 * use.coverage:.1f} %",
            f"{use.entropy:.2f}",
            f"{2**use.entropy:.0f}",
            f"{100 * use.top_share:.1f} %",
            str(use.counts.max()),
        ]
        for kind, use in uses.items()
    ]
    return VocabularyUse(name, size, plot, rows, _accuracy_rows(shards, item))


def _markdown(section: VocabularyUse) -> list[str]:
    text = [
        f"## {section.name}: {section.size} captions",
        _markdown_table(USE_HEAD, section.use),
        f"![How often captions of {section.name} are used]({section.plot})",
    ]
    if section.accuracy:
        text += [ACCURACY_NOTE, _markdown_table(ACCURACY_HEAD, section.accuracy)]
    return text


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|" + len(head) * "---|", *lines[1:]])


def _markdown_clip(clip: LabelledClip) -> str:
    title, key, known = map(escape_markdown, (clip.title, clip.key, clip.known))
    lines = [f"**{title}** ({clip.shard.split}, {key}): {known}", ""]
    for vocabulary, captions in clip.captions.items():
        lines.append(f"- {vocabulary}: {'; '.join(map(escape_markdown, captions))}")
    return "\n".join(lines)


def _counted(size: int, rows: Any) -> NDArray[np.int64]:
    counts = np.zeros(size, np.int64)
    for part in rows:
        counts += np.bincount(np.asarray(part).ravel(), minlength=size)
    return counts


def _accuracy_rows(shards: Sequence[Shard], item: Labels) -> list[list[str]]:
    """Correct labels of clips with ground truth, beside captions drawn at random."""
    held_out = [shard for shard in shards if shard.split != "train"]
    parts = {"": _accuracies(shards, item), "held-out tracks: ": _accuracies(held_out, item)}
    return [
        [
            f"{prefix}{kind}",
            str(accuracy.captions),
            *(
                f"{100 * share:.1f} %"
                for share in (
                    accuracy.family,
                    accuracy.family_named,
                    accuracy.genre,
                    accuracy.genre_named,
                )
            ),
        ]
        for prefix, accuracies in parts.items()
        for kind, accuracy in accuracies.items()
        if accuracy
    ]


def _accuracies(shards: Sequence[Shard], item: Labels) -> dict[str, LabelAccuracy | None]:
    texts = item.texts.texts
    top: list[Any] = []
    drawn: list[Any] = []
    chance: list[Any] = []
    for shard in shards:
        rows = zip(item.clips(shard), item.nearest(shard).tolist(), item.positions(shard), strict=True)
        for clip, near, kept in rows:
            rng = random.Random(f"{item.seed} {clip.key}")
            top.append((clip.truth, [texts[number] for number in near[:3]]))
            drawn.append((clip.truth, [texts[number] for number in kept]))
            chance.append((clip.truth, [rng.choice(texts) for _ in range(3)]))
    return {
        "the 3 nearest": measure_label_accuracy(top),
        f"{item.keep} drawn": measure_label_accuracy(drawn),
        "3 at random": measure_label_accuracy(chance),
    }


def _examples(shards: Sequence[Shard], labels: Sequence[Labels]) -> list[LabelledClip]:
    rng = random.Random(labels[0].seed)
    places = [(shard, number) for shard in shards for number in range(shard.clips)]
    examples = []
    for shard, number in rng.sample(places, min(_CLIPS, len(places))):
        clip = labels[0].clips(shard)[number]
        known = clip.descriptions[0] if clip.descriptions else ", ".join((*clip.genres, *clip.tags))
        captions = {item.texts.vocabulary: item.drawn(shard)[number] for item in labels}
        examples.append(LabelledClip(clip.key, clip.title or clip.key, shard, known, captions))
    return examples


def _plot_use(path: Path, uses: dict[str, Use], name: str) -> None:
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for kind, use in uses.items():
        used = np.sort(use.counts[use.counts > 0])[::-1]
        axes.loglog(np.arange(1, len(used) + 1), used / max(1, used.sum()), label=kind)
    axes.set(xlabel=f"captions of {name}, most used first", ylabel="share of all uses")
    axes.grid(alpha=0.3)
    axes.legend()
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=154, metadata={"Software": None})
    write_atomic(path, stream.getvalue())
