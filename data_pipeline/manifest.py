"""`python -m data_pipeline manifest`: list the usable tracks of a collection."""

from __future__ import annotations

from pathlib import Path

from data_pipeline.parallel import Engine


def manifest(
    source: str,
    output: Path,
    metadata: Path | None = None,
    minimum_seconds: float = 20.0,
    workers: int | None = None,
    engine: Engine = "local",
) -> None:
    """List the usable tracks of a folder, and why the other files are not used.

    Every audio file is decoded once: unreadable, too short and silent ones go to rejected.jsonl beside
    the manifest, and so do duplicates, whether the same file or the same recording in another encoding;
    what is known of a duplicate is added to the track that is kept. Metadata comes from the tags of a file,
    from files NAME.txt (captions, one a line) and NAME.json beside it, and from the metadata file; the later
    ones win. The summary names every column, row and value that is not used. Results are kept in a file
    OUTPUT.sqlite: an interrupted run resumes, and a later one reads only what is new.

    Args:
        source: Folder of audio files, of any depth, or its URL (s3://, gs://, memory://); tar files in it
            are read. Also a single audio file or tar file.
        output: The manifest to write, one JSON line a track.
        metadata: Table of the tracks: JSON lines, CSV or Parquet with a column 'path' (relative to the
            source) and any of title, artist, album, year, genres, tags, descriptions (or caption), licence,
            source, truth, split; or the annotations of MusicCaps, MagnaTagATune, AudioSet, FMA or
            MTG-Jamendo as they are published.
        minimum_seconds: Shorter tracks are rejected.
        workers: Processes that decode; all cores when none is given.
        engine: Where they run: on this machine, or on a Ray cluster.

    Raises:
        InputError: if the source does not exist or holds no audio, or the metadata is damaged.
    """
    from data_pipeline.scan.annotations.reader import Annotations
    from data_pipeline.scan.manifest_builder import build_manifest, print_summary

    annotations = Annotations(metadata) if metadata else None
    summary = build_manifest(source, output, annotations, minimum_seconds, workers, engine)
    print_summary(summary, output, annotations)
