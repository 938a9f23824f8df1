"""Every reader of the project, with a small valid file or folder for each."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save

from data_pipeline.__main__ import main as data_pipeline
from data_pipeline.captions.embeddings import open_embeddings
from data_pipeline.captions.vocabulary.endpoint import EndpointWriter
from data_pipeline.captions.vocabulary.examples import Song
from data_pipeline.captions.vocabulary.raters import read_raters
from data_pipeline.captions.vocabulary.songs import read_songs
from data_pipeline.captions.vocabulary.table import Caption, read_texts, write_table
from data_pipeline.scan.annotations.reader import Annotations
from lightning_n2m.audio.io import encode, read, write
from lightning_n2m.cli.lightning_cli import run_cli
from lightning_n2m.data.prompts import Prompts
from lightning_n2m.data.schema import Captions, read_captions, read_index
from lightning_n2m.data.shard_reader import find_shards, read_shard
from lightning_n2m.evaluation.metric import MetricValue, read_metrics, write_metrics
from lightning_n2m.stages.bundle import load_stage, read_config
from lightning_n2m.stages.bundle_weights import read_checkpoint
from lightning_n2m.stages.stage_config import build_stage
from tests.integration.fuzz_features import feature_readers
from tests.integration.fuzzing import Reader
from tests.paths import CLIPS, ROOT


def all_readers(folder: Path) -> list[Reader]:
    """Build the seeds and list the readers.

    Args:
        folder: Where the seeds are written.
    """
    folder.mkdir(parents=True)
    readers = [
        *_audio(folder / "audio"),
        *_tables(folder / "tables"),
        *_shards(folder / "shards"),
        *_captions(folder / "captions"),
        *_models(folder / "models"),
        *feature_readers(folder / "features"),
    ]
    for name in ("audio", "tables", "shards", "captions", "models", "features"):
        assert (folder / name).is_dir()
    return readers


def _tone(seconds: float) -> torch.Tensor:
    time = torch.arange(round(seconds * 24_000)) / 24_000
    return 0.3 * torch.sin(2 * torch.pi * 440 * time)[None]


def _audio(folder: Path) -> list[Reader]:
    music = folder / "music"
    music.mkdir(parents=True)
    write(folder / "tone.flac", _tone(1.5), 24_000)
    write(folder / "tone.wav", _tone(1.5), 24_000)
    for suffix in ("ogg", "mp3"):
        content = encode(_tone(1.5), 24_000, format=suffix.upper(), subtype=None) if suffix == "ogg" else b""
        if content:
            (folder / f"tone.{suffix}").write_bytes(content)
    for path in folder.glob("tone.*"):
        shutil.copy(path, music / path.name)
    (music / "tone.json").write_text(
        json.dumps(
            {"title": "A tone", "artist": "Nobody", "genres": ["test"], "tags": ["a", "b"], "year": 1999}
        )
    )
    (music / "tone.txt").write_text("A long tone, a single pitch.\n")
    return [
        *(
            Reader(f"audio-{path.suffix[1:]}", path, (), lambda path: read(path), 2.0)
            for path in sorted(folder.glob("tone.*"))
        ),
        Reader("manifest", music, ("*",), _manifest, 1.0),
    ]


def _manifest(music: Path) -> int:
    output = music.parent / "out"
    output.mkdir()
    return data_pipeline(
        ["manifest", "--source", str(music), "--output", str(output / "manifest.jsonl"), "--workers", "1",
         "--minimum-seconds", "1"]
    )  # fmt: skip


def _tables(folder: Path) -> list[Reader]:
    folder.mkdir()
    rows = [
        {
            "path": "a/one.ogg",
            "title": "One",
            "artist": "A",
            "genres": "rock; jazz",
            "caption": "a loud song",
        },
        {
            "path": "two.flac",
            "title": "Two, too",
            "artist": "B",
            "genres": "['folk', 'blues']",
            "caption": "",
        },
    ]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    (folder / "table.csv").write_text("\n".join(lines) + "\n")
    (folder / "table.tsv").write_text(
        "\n".join("\t".join(row.values()) for row in (dict(zip(rows[0], rows[0], strict=True)), *rows)) + "\n"
    )
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
    (folder / "musiccaps-public.csv").write_text(
        "ytid,start_s,end_s,audioset_positive_labels,aspect_list,caption,author_id,is_balanced_subset,"
        "is_audioset_eval\n-0Gj8-vB1q4,30,40,\"/m/0140xf,/m/02cjck\",\"['low quality', 'strings']\","
        '"The low quality recording features a ballad song.",4,False,True\n'
    )
    return [
        *(
            Reader(f"table-{path.name}", path, (), lambda path: list(Annotations(path)), 1.0)
            for path in sorted(folder.iterdir())
        ),
        Reader("raters", folder / "musiccaps-public.csv", (), lambda path: read_raters(path), 0.5),
        Reader("songs", folder / "table.jsonl", (), lambda path: read_songs(path), 0.5),
    ]


def _shards(folder: Path) -> list[Reader]:
    folder.mkdir()
    music = folder / "music"
    music.mkdir()
    for name in ("waltz", "hymn"):
        audio = read(CLIPS / f"{name}.ogg")
        write(music / f"{name}.flac", audio.samples[:, : audio.sample_rate], audio.sample_rate)
    assert data_pipeline(
        ["manifest", "--source", str(music), "--output", str(folder / "manifest.jsonl"), "--workers", "1",
         "--minimum-seconds", "0.5"]
    ) == 0  # fmt: skip
    shards = folder / "set"
    assert data_pipeline(
        ["shard", "--manifest", str(folder / "manifest.jsonl"), "--output", str(shards), "--workers", "1",
         "--clip_seconds", "0.5", "--spacing_seconds", "0.5", "--clips_per_track", "1", "--validation", "0",
         "--test", "0"]
    ) == 0  # fmt: skip
    file = find_shards([str(shards)], "train")[0]
    clips = list(read_shard(file))
    texts = {"key": clips[0].clip.key, "long": ["a slow waltz"], "short": ["waltz"]}
    try:
        captions = Captions(**texts).to_json()
    except TypeError:
        captions = json.dumps(texts) + "\n"
    (shards / file.shard.captions_name).write_text(captions if captions.endswith("\n") else captions + "\n")

    def load(path: Path) -> None:
        for part in ("train", "validation", "test"):
            for one in find_shards([str(path)], part) if read_index(path).of(part) else []:  # type: ignore[arg-type]
                for raw in read_shard(one):
                    read(raw.audio)

    def page(path: Path) -> int:
        return data_pipeline(
            ["stats", "--shards", str(path), "--output", str(path.parent / "page"), "--workers", "1"]
        )

    def verify(path: Path) -> int:
        code = data_pipeline(["verify", "--shards", str(path), "--workers", "1"])
        return 0 if code == 1 else code  # 1: problems were found

    def pack(path: Path) -> int:
        return data_pipeline(
            ["shard", "--manifest", str(path), "--output", str(path.parent / "out"), "--workers", "1"]
        )

    return [
        Reader("shards", shards, ("*",), load, 3.0),
        Reader("verify", shards, ("*",), verify, 2.0),
        Reader("stats", shards, ("*.json*",), page, 0.5),
        Reader("captions", shards / file.shard.captions_name, (), lambda path: read_captions(path), 1.0),
        Reader("manifest-lines", folder / "manifest.jsonl", (), pack, 0.5),
    ]


class _Answer(BaseHTTPRequestHandler):
    """Answers every request with the same bytes."""

    content = b""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *args: Any) -> None:
        pass


def _captions(folder: Path) -> list[Reader]:
    folder.mkdir()
    write_table(
        folder / "vocabulary.parquet",
        [Caption(text, "lm-lf", "test") for text in ("A slow waltz for piano.", "Fast techno with drums.")],
    )
    embeddings = folder / "embeddings"
    (embeddings / "clips").mkdir(parents=True)
    (embeddings / "embeddings.json").write_text("{}")
    np.save(embeddings / "clips" / "audio-000000-abc.npy", np.eye(4, 8, dtype=np.float32))
    (folder / "answer.json").write_text(
        json.dumps({"choices": [{"message": {"role": "assistant", "content": "A slow waltz for piano."}}]})
    )

    def vectors(path: Path) -> None:
        from data_pipeline.captions.embeddings import Embeddings

        Embeddings(path, "place", "name", 8).read(path / "clips" / "audio-000000-abc.npy")

    def request(path: Path) -> None:
        handler = type("Handler", (_Answer,), {"content": path.read_bytes()})
        server = HTTPServer(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            writer = EndpointWriter(f"http://127.0.0.1:{server.server_port}/v1", "model", tries=1, timeout=5)
            writer._next = 0.0
            list(writer.write([Song("A title", "An artist")]))
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    return [
        Reader("vocabulary", folder / "vocabulary.parquet", (), lambda path: read_texts(path), 1.0),
        Reader("embeddings-index", embeddings, ("*.json",), lambda path: open_embeddings(path), 0.3),
        Reader("embeddings", embeddings, ("clips/*",), vectors, 0.5),
        Reader("http-answer", folder / "answer.json", (), request, 0.3),
    ]


def _models(folder: Path) -> list[Reader]:
    folder.mkdir()
    bundle = folder / "bundle"
    bundle.mkdir()
    config = read_config(ROOT / "pretrained" / "super_resolution")
    config["init_args"]["network"]["init_args"].update(base_channels=8, groups=4)
    stage = build_stage(config)
    (bundle / "config.yaml").write_text(yaml.safe_dump({"model": config}, sort_keys=False))
    (bundle / "weights.safetensors").write_bytes(
        save({name: tensor.half().contiguous() for name, tensor in stage.network.state_dict().items()})
    )
    torch.save(
        {"stage": "SuperResolution", "state_dict": {"a": torch.ones(3)}, "callbacks": {}, "global_step": 3},
        folder / "last.ckpt",
    )
    shutil.copy(ROOT / "configs" / "starter" / "super_resolution.yaml", folder / "recipe.yaml")
    (folder / "prompts.txt").write_text("a slow waltz\nJazz: slow piano\n[rock, jazz]\n")
    write_metrics(
        folder / "evaluation.json",
        [MetricValue("waveform: x", 1.0, 0.0, 2.0, True, 3, "a model", "a command")],
    )

    def parse(path: Path) -> None:
        run_cli(["fit", "-c", str(path)], parse_only=True)

    read_prompts: Callable[[Path], Any] = lambda path: Prompts(file=str(path)).prompts()  # noqa: E731
    return [
        Reader("bundle-config", bundle, ("config.yaml",), lambda path: load_stage(path), 2.0),
        Reader("bundle-weights", bundle, ("*.safetensors",), lambda path: load_stage(path), 1.0),
        Reader("checkpoint", folder / "last.ckpt", (), lambda path: read_checkpoint(path), 1.0),
        Reader("recipe", folder / "recipe.yaml", (), parse, 1.0),
        Reader("prompts", folder / "prompts.txt", (), read_prompts, 0.5),
        Reader("metrics", folder / "evaluation.json", (), lambda path: read_metrics(path), 0.5),
    ]
