"""The recipes' loaders on many ranks, and the time that they take to start."""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lightning_n2m.data.datamodule import AudioDataModule
from lightning_n2m.data.derived_audio import TrainingFormat
from lightning_n2m.data.schema import Index, Shard
from lightning_n2m.data.shard_sources import find_sources
from tests.paths import ROOT

PAPER = ROOT / "configs/paper"
STAGES = sorted(path.stem for path in PAPER.glob("*.yaml") if "effective_batch" in path.read_text())


def write_indices(folder: Path, count: int, validation: int = 40, form: TrainingFormat | None = None) -> Path:
    """The indices of a shard folder, and of a derived form, without the shards."""

    def shards(tag: str) -> tuple[Shard, ...]:
        return tuple(
            Shard(
                name=f"audio-{i:06d}.tar",
                split="validation" if i < validation else "train",
                clips=96,
                seconds=2880.0,
                bytes=1 << 20,
                sha256=hashlib.sha256(f"{tag} {i}".encode()).hexdigest(),
            )
            for i in range(count)
        )

    masters = shards("master")
    folder.mkdir(parents=True)
    (folder / "index.json").write_text(Index(masters).to_json())
    if form:
        (folder / form.name).mkdir()
        derived = Index(shards("derived"), form.sample_rate, settings=form.settings(masters))
        (folder / form.name / "index.json").write_text(derived.to_json())
    return folder


def data_options(stage: str) -> dict[str, Any]:
    """The options of the data module in a paper recipe."""
    data = yaml.safe_load((PAPER / f"{stage}.yaml").read_text())["data"]
    return dict(data.get("init_args", data))


def module_of_a_rank(stage: str, shards: Path, rank: int, world_size: int) -> AudioDataModule:
    """The data module of a paper recipe, on one rank of a simulated trainer."""
    module = AudioDataModule(**(data_options(stage) | {"shards": str(shards)}))
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        world_size=world_size,
        global_rank=rank,
        accumulate_grad_batches=1,
        val_check_interval=1000,
        accelerator=None,
        lightning_module=SimpleNamespace(
            text=None,
            trains_on_mel=None,
            sample_rate=3200,
            seconds=30.0,
            network=SimpleNamespace(number_names=()),
        ),
        fit_loop=SimpleNamespace(
            epoch_loop=SimpleNamespace(batch_progress=SimpleNamespace(total=SimpleNamespace(processed=0)))
        ),
    )
    module.setup("fit")
    return module


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_indices(tmp_path_factory.mktemp("many") / "shards", 2200)


def test_every_recipe_with_an_effective_batch_is_tried() -> None:
    assert len(STAGES) == 10


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("world_size", [32, 64, 512])
@pytest.mark.parametrize("stage", STAGES)
def test_a_recipe_starts_on_many_ranks(stage: str, world_size: int, shards: Path) -> None:
    recipe = data_options(stage)
    for rank in (0, 1, world_size - 1):
        module = module_of_a_rank(stage, shards, rank, world_size)
        clips = module.batch_size * world_size * module.trainer.accumulate_grad_batches  # type: ignore[union-attr]
        assert clips == recipe["effective_batch"]
        assert module.batch_size <= recipe["batch_size"]
        training = module.train_dataloader()
        assert (training.dataset.rank, training.dataset.world_size) == (rank, world_size)
        validation = module.val_dataloader().dataset
        assert validation.clips % world_size == 0
        assert validation.clips >= max(world_size, 16)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_all_ranks_together_read_each_shard_once_and_validate_alike(tmp_path: Path) -> None:
    shards = write_indices(tmp_path / "shards", 300)
    read: Counter[str] = Counter()
    validated = []
    for rank in range(64):
        module = module_of_a_rank("waveform_generator", shards, rank, 64)
        stream = module.train_dataloader().dataset
        for worker in range(stream.workers):
            order = stream._mixture(64 * stream.workers, worker * 64 + rank).orders[0]
            read.update(file.shard.name for group in order.groups(0) for file in group)
        validated.append(module.val_dataloader().dataset.clips)
    assert set(read.values()) == {1}
    assert len(read) == 300 - 40
    assert set(validated) == {64}


def lines_executed(work: Any) -> int:
    """Line events of the project's own code, each repetition of a one-line loop included."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        if "lightning_n2m" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_starting_is_linear_in_the_number_of_shards(tmp_path: Path) -> None:
    """425,000 shards with a derived form take 11 s of one core; a scan of a list per shard, hours."""
    form = TrainingFormat(3200)
    steps = []
    for count in (100, 200, 400):
        folder = write_indices(tmp_path / str(count), count, validation=10, form=form)
        steps.append(lines_executed(lambda folder=folder: find_sources(str(folder), "train", form)))
    assert steps[0] > 100
    first, second = steps[1] - steps[0], steps[2] - steps[1]
    assert second == pytest.approx(2 * first, rel=0.02)
