"""`python -m data_pipeline starter`: a corpus to begin with, free to use and to give away."""

from __future__ import annotations

import functools
import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipeline.parallel import run
from data_pipeline.progress import progress
from data_pipeline.starter_corpus.sounds import Edition
from lightning_n2m.errors import InputError
from lightning_n2m.storage import remove_partial_files, write_atomic

if TYPE_CHECKING:
    from data_pipeline.starter_corpus.description import Truth

_SETTINGS = "starter.json"
_VERSION = {1: 2, 2: 4}  # by edition; raised when the pieces of an edition change


def starter(
    output: Path,
    pieces: int = 1600,
    seed: int = 0,
    workers: int | None = None,
    recorded: bool = True,
    cache: Path | None = None,
    edition: Edition = 1,
) -> None:
    """Build the starter corpus: recordings under Creative Commons, and pieces composed and rendered here.

    OUTPUT/recorded holds music from Debian packages, OUTPUT/rendered 30-second pieces whose genre,
    instruments, tempo and key are exactly known, and OUTPUT/metadata.jsonl describes both; give it to
    'manifest --metadata'. An interrupted command continues where it stopped. Run again on a finished corpus,
    it writes the captions of its pieces again and renders nothing. It needs apt-get (Debian or Ubuntu).

    Args:
        output: Folder of the corpus.
        pieces: Number of pieces to compose and render.
        seed: Seed of the compositions: equal seeds give equal pieces, however many are made.
        workers: Processes that render; all cores when none is given.
        recorded: Whether to fetch the recordings, some 380 MB.
        cache: Folder for downloaded packages; one in the user's cache when none is given.
        edition: 1 is what the weights in pretrained/ were trained on. 2 adds sound fonts, recorded drum
            kits and loops, wider ranges of tempi, more chords and melodies, and captions in more styles.

    Raises:
        InputError: if the folder holds a corpus of another seed or edition, or a package cannot be fetched.
    """
    from data_pipeline.starter_corpus import debian

    if pieces < 0:
        raise InputError(f"--pieces {pieces}: give 0 or more.")
    cache = cache or debian.cache_folder()
    (output / "rendered").mkdir(parents=True, exist_ok=True)
    _claim(output, seed, edition)
    remove_partial_files(output / "rendered")
    lines: list[dict[str, object]] = []
    if recorded:
        from data_pipeline.starter_corpus.recordings import fetch

        lines += fetch(output / "recorded", cache)
    units = [Unit(seed, number, str(output / "rendered"), str(cache), edition) for number in range(pieces)]
    missing = [unit for unit in units if not unit.audio.is_file()]
    if missing:
        _load_tools(str(cache), edition)  # Downloads once, before every worker would.
    with progress("composing and rendering", pieces, "pieces", pieces - len(missing)) as report:
        for _ in run(render, missing, workers):
            report()
    for unit in units:
        lines.append({"path": f"rendered/{unit.audio.name}", **_described_again(unit)})
    write_atomic(
        output / "metadata.jsonl",
        "".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines),
    )
    print(f"{len(lines)} tracks ({pieces} rendered) and {output / 'metadata.jsonl'} are ready.")


def _described_again(unit: Unit) -> dict[str, Any]:
    """Facts of a rendered piece, whose captions follow the present code: audio is never rendered for them.

    Raises:
        InputError: if the file of facts is damaged.
    """
    from data_pipeline.starter_corpus.description import Truth

    text = unit.facts.read_text(encoding="utf-8")
    try:
        facts = _facts(Truth.from_dict(json.loads(text)["truth"]), unit.edition)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{unit.facts} is damaged ({error}); delete it and {unit.audio.name}, and run again."
        ) from error
    if _to_json(facts) != text:
        write_atomic(unit.facts, _to_json(facts))
    return facts


def _to_json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, sort_keys=True, indent=1) + "\n"


def _facts(truth: Truth, edition: Edition) -> dict[str, Any]:
    """Title, tags, captions, licence and split of a piece."""
    from data_pipeline.starter_corpus import description, sounds, splits

    captions = description.sentences if edition == 1 else description.varied_sentences
    return {
        "title": description.title(truth),
        "genres": [truth.genre],
        "tags": description.tags(truth),
        "descriptions": captions(truth, random.Random(f"words {truth.seed}")),
        "licence": sounds.licence(truth.sound_font, truth.drum_kit),
        "source": f"starter corpus, piece {truth.seed}",
        "truth": truth.to_dict(),
        "split": splits.split(truth),
    }


def _claim(output: Path, seed: int, edition: Edition) -> None:
    path = output / _SETTINGS
    settings = {"seed": seed, "version": _VERSION[edition]}
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != settings:
            raise InputError(
                f"{output} holds a starter corpus of {found}, not {settings}; give another --output."
            )
    else:
        write_atomic(path, json.dumps(settings) + "\n")


@dataclass(frozen=True)
class Unit:
    """One piece to render: seed and number, the folder to write to, the cache of packages, the edition."""

    seed: int
    number: int
    folder: str
    cache: str
    edition: Edition = 1

    @property
    def audio(self) -> Path:
        """The piece; there only when its facts are."""
        return Path(self.folder) / f"{self.number:06d}.flac"

    @property
    def facts(self) -> Path:
        """Its metadata, beside it."""
        return self.audio.with_suffix(".json")


@functools.cache
def _load_tools(cache: str, edition: Edition):  # type: ignore[no-untyped-def]
    """MMA and the synthesizer with its sound fonts: loaded once a process."""
    from data_pipeline.starter_corpus.mma import Accompanist
    from data_pipeline.starter_corpus.synthesizer import Synthesizer

    return Accompanist(Path(cache)), Synthesizer(Path(cache), edition)


def render(unit: Unit) -> int:
    """Compose, render and write one piece.

    Returns:
        The number of the piece.
    """
    import torch

    from data_pipeline.starter_corpus import arrangement, loops, mix, sounds
    from data_pipeline.starter_corpus.synthesizer import RATE
    from lightning_n2m.audio import io, resample
    from lightning_n2m.data.schema import SAMPLE_RATE

    accompanist, synthesizer = _load_tools(unit.cache, unit.edition)
    piece = arrangement.arrange(arrangement.plan(unit.seed, unit.number, unit.edition), accompanist)
    truth = piece.truth
    lead, rest = (
        synthesizer.render(part, truth.sound_font, arrangement.SECONDS) for part in (piece.lead, piece.rest)
    )
    if truth.drum_loop:
        loop = sounds.loops()[truth.drum_loop]
        samples, _ = loops.read(loop, Path(unit.cache))
        drums = loops.at_tempo(samples, loop.beats, truth.tempo_bpm, arrangement.SECONDS, RATE)
    else:
        drums = synthesizer.render_drums(piece.drums, truth.sound_font, truth.drum_kit, arrangement.SECONDS)
    master = resample.resample_file(torch.from_numpy(mix.mix(lead, rest, drums))[None], RATE, SAMPLE_RATE)
    write_atomic(unit.facts, _to_json(_facts(truth, unit.edition)))
    io.write(unit.audio, torch.from_numpy(mix.level(master.numpy())), SAMPLE_RATE)
    return unit.number
