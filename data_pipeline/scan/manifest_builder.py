"""Scan a collection, and write its manifest and its list of rejected files."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from data_pipeline.parallel import Engine, run
from data_pipeline.progress import progress
from data_pipeline.scan import probe
from data_pipeline.scan.annotations.reader import Annotations
from data_pipeline.scan.near_duplicates import near_duplicates
from data_pipeline.scan.scan_database import ScanDatabase, database_path
from data_pipeline.scan.track import REJECTED, Rejected, Track, counts, write_lines
from data_pipeline.scan.walk import root_of, walk
from lightning_n2m.errors import InputError, printable
from lightning_n2m.storage import is_folder, is_url, size

_SHOWN = 3  # Examples of what did not match.
_SECRETS = re.compile(
    r"(?i)token|secret|password|passwd|signature|credential|api_?key|access_?key|^sig$|^key$"
)


@dataclass
class Summary:
    """Numbers of a finished scan.

    Args:
        minimum_seconds: Shorter tracks were rejected.
        tracks: Tracks in the manifest.
        seconds: Their length.
        reasons: Rejected files by reason.
        others: Files that are not audio, by ending.
        notes: What was not used of tags and sidecars, by reason.
        described: Rows of the metadata that name a file.
        unmatched: Rows that name none.
        examples: The first keys of these.
    """

    minimum_seconds: float = 0.0
    tracks: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    described: int = 0
    unmatched: int = 0
    examples: list[str] = field(default_factory=list)


def check_source(source: str) -> None:
    """Refuse a source that does not exist, or a URL with a password or key in it.

    The manifest keeps the URL of each file, and other people may get the manifest.

    Raises:
        InputError: if the source is such a one.
    """
    if is_url(source):
        parts = urlsplit(source)
        secret = "@" in parts.netloc and ":" in parts.netloc.rpartition("@")[0]
        if secret or any(_SECRETS.search(name) for name, _ in parse_qsl(parts.query, keep_blank_values=True)):
            raise InputError(
                f"--source {parts.scheme}://... holds a password or key, which the manifest would keep; "
                "give it in the environment or the configuration file of the storage (such as "
                "AWS_SECRET_ACCESS_KEY)."
            )
    if not is_folder(source) and size(source) is None:
        raise InputError(
            f"The source {source} does not exist; give --source a folder of audio files, an audio file "
            "or a tar file."
        )


def build_manifest(
    source: str,
    output: Path,
    annotations: Annotations | None,
    minimum_seconds: float,
    workers: int | None,
    engine: Engine,
) -> Summary:
    """Scan a collection, and write its manifest and its list of rejected files.

    Args:
        source: A folder, file or URL.
        output: The manifest.
        annotations: Metadata to join.
        minimum_seconds: Shorter tracks are rejected.
        workers: Number of processes.
        engine: Where they run.

    Raises:
        InputError: if the source holds no audio, or the metadata is damaged.
    """
    check_source(source)
    if annotations:
        annotations.check()
    root, summary = root_of(source), Summary(minimum_seconds)
    output.parent.mkdir(parents=True, exist_ok=True)
    with closing(ScanDatabase(database_path(output))) as database:
        for file in walk(source, summary.others, annotations.path if annotations else None):
            database.add_file(file, f"{probe.VERSION} {minimum_seconds:g} {file.stamp}")
        database.forget_missing()
        total = database.count()
        if not total:
            raise InputError(
                f"{source} holds no audio files{_others(summary.others)}; give --source a folder "
                "of WAV, FLAC, Ogg, Opus or MP3 files."
            )
        if annotations:
            _join(annotations, database, root or source, summary)
        missing = database.count("result IS NULL")
        read = partial(probe.probe, root=root, minimum_seconds=minimum_seconds)
        with progress("reading", total, "tracks", total - missing) as report:
            for result in run(read, database.unread(), workers, engine):
                database.add_result(result)
                report()
        database.mark_identical_files()
        _mark_near_duplicates(database)
        write_lines(output, _kept(database, summary))
        write_lines(output.with_name(REJECTED), _rejected(database, summary))
        summary.notes = database.notes()
    return summary


def _join(annotations: Annotations, database: ScanDatabase, root: str, summary: Summary) -> None:
    database.index_identities()
    for row in annotations:
        if database.add_metadata(row, root):
            summary.described += 1
        else:
            summary.unmatched += 1
            if len(summary.examples) < _SHOWN:
                summary.examples.append(row.key)


def _kept(database: ScanDatabase, summary: Summary) -> Iterator[Track]:
    for _, result in database.results():
        if isinstance(result, Track):
            summary.tracks, summary.seconds = summary.tracks + 1, summary.seconds + result.seconds
            yield result


def _rejected(database: ScanDatabase, summary: Summary) -> Iterator[Rejected]:
    for _, result in database.results():
        if isinstance(result, Rejected):
            summary.reasons[result.reason] += 1
            yield result


def _mark_near_duplicates(database: ScanDatabase) -> None:
    """Of several encodings of one recording, keep the file of the most bytes."""
    keepers: dict[int, int] = {}

    def keeper(number: int) -> int:
        while number in keepers:
            number = keepers[number]
        return number

    for pair in near_duplicates(database.tracks()):
        one, other = map(keeper, pair)
        if one == other:
            continue
        (name, size, track), (other_name, other_size, other_track) = map(database.describe, (one, other))
        if abs(track.seconds - other_track.seconds) > max(1.0, 0.01 * track.seconds):
            continue
        one_first = (-size, name) < (-other_size, other_name)
        keepers[other if one_first else one] = one if one_first else other
    for number in keepers:
        kept = keeper(number)
        database.mark_duplicate(number, kept, f"the same recording as {database.describe(kept)[0]}")


def report_lines(summary: Summary, output: Path, annotations: Annotations | None) -> Iterator[str]:
    """The summary as lines of text: what was written, and everything that was not used, with numbers."""
    yield (
        f"{summary.tracks} tracks, {summary.seconds / 3600:.2f} hours, in {output}; "
        f"rejected: {counts(summary.reasons)}"
        + (f" (reasons in {output.with_name(REJECTED)})." if summary.reasons else ".")
    )
    if summary.reasons["too short"]:
        yield f"Too short are files below --minimum_seconds {summary.minimum_seconds:g}."
    if summary.others:
        yield f"Skipped, as they are not audio: {_counted(summary.others)}."
    if summary.notes:
        yield f"Tags and sidecar files, not used: {_counted(summary.notes)}."
    if not annotations:
        return
    yield f"{annotations.path}: {summary.described} of {annotations.rows} rows describe files of the source."
    if summary.unmatched:
        examples = ", ".join(summary.examples)
        more = ", ..." if summary.unmatched > len(summary.examples) else ""
        yield f"{annotations.path}: {summary.unmatched} rows name no file, or several: {examples}{more}."
    if annotations.without_key:
        yield f"{annotations.path}: {annotations.without_key} rows have an empty path."
    if annotations.ignored.columns:
        yield f"{annotations.path}: columns not used: {_counted(annotations.ignored.columns, ' values')}."
    if annotations.ignored.values:
        yield f"{annotations.path}: values not used: {_counted(annotations.ignored.values)}."


def print_summary(summary: Summary, output: Path, annotations: Annotations | None) -> None:
    """Print `report_lines`."""
    for line in report_lines(summary, output, annotations):
        print(printable(line))
    if summary.tracks:
        manifest = shlex.quote(str(output))
        print(printable(f"Next: python -m data_pipeline shard --manifest {manifest} --output shards"))


def _counted(counter: Counter[str], unit: str = "") -> str:
    shown = counter.most_common(30)
    text = ", ".join(f"{name} ({number}{unit})" for name, number in shown)
    return text if len(shown) == len(counter) else f"{text} and {len(counter) - len(shown)} more"


def _others(others: Counter[str]) -> str:
    return f" (only {_counted(others)})" if others else ""
