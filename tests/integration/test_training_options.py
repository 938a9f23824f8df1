"""Every option of the shared trainer resumes bit for bit, and gives the same run on several processes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from benchmarks import training_options
from data_pipeline.__main__ import main as data_pipeline
from lightning_n2m.cli.main import main
from tests.integration.conftest import ROOT, fit, tiny
from tests.integration.curves import scalars
from tests.integration.ranks import launch

STAGE = "super_resolution"
TRAINING = ROOT / "configs" / "training"
QUICK = ["--samples.clips=0", "--trainer.val_check_interval=100"]
OPTIONS = {
    "muon": [f"--config={TRAINING / 'muon.yaml'}"],
    "draws": [
        "--model.times.strata=4",
        "--model.times.distribution=logit_normal",
        "--model.transport_group=2",
        f"--config={TRAINING / 'min_snr.yaml'}",
    ],
    "auxiliary": [
        f"--config={TRAINING / 'chroma.yaml'}",
        f"--config={TRAINING / 'muon.yaml'}",
        "--model.init_args.auxiliary=[{features: chroma, kind: regression, until_step: 5}]",
    ],
}


@pytest.fixture(scope="module")
def shards(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test shards with chroma beside them."""
    folder = Path(shutil.copytree(shards, tmp_path_factory.mktemp("features") / "shards"))
    assert data_pipeline(["shard", "--output", str(folder), "--derive", "chroma", "--workers", "1"]) == 0
    return folder


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Weights, averages and optimiser states of the last checkpoint."""
    checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    (states,) = (optimizer["state"] for optimizer in checkpoint["optimizer_states"])
    flat = {f"{i} {name}": value for i, entry in states.items() for name, value in entry.items()}
    for kind in ("state_dict", "current_model_state"):
        flat |= {f"{kind} {name}": value for name, value in checkpoint[kind].items()}
    return flat


@pytest.mark.parametrize("name", OPTIONS)
def test_a_resumed_run_repeats_the_uninterrupted_one(shards: Path, tmp_path: Path, name: str) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    fit(STAGE, shards, whole, *QUICK, *OPTIONS[name])
    fit(STAGE, shards, resumed, *QUICK, *OPTIONS[name], "--trainer.max_steps=4")
    fit(STAGE, shards, resumed, *QUICK, *OPTIONS[name], "--ckpt_path=last")
    assert len(scalars(whole, "train/loss")) == 6
    assert scalars(resumed, "train/loss") == scalars(whole, "train/loss")
    expected = tensors(whole)
    found = tensors(resumed)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    fit(STAGE, shards, tmp_path / "default", *QUICK)
    default = tensors(tmp_path / "default")
    weights = [key for key in default if key.startswith("current_model_state")]
    assert any(not torch.equal(default[key], expected[key]) for key in weights), "the option has an effect"


def test_any_checkpoint_of_a_constant_rate_can_be_decayed(shards: Path, tmp_path: Path) -> None:
    constant = [*QUICK, f"--config={TRAINING / 'constant.yaml'}", "--model.optimisation.warmup_steps=1"]
    fit(STAGE, shards, tmp_path / "a", *constant, "--trainer.max_steps=4")
    fit(
        STAGE, shards, tmp_path / "b", *constant, f"--config={TRAINING / 'decay.yaml'}",
        f"--ckpt_path={tmp_path / 'a' / 'checkpoints' / 'last.ckpt'}", "--trainer.max_steps=8",
        "--model.optimisation.total_steps=8", "--model.optimisation.decay_steps=4",
    )  # fmt: skip
    peak = scalars(tmp_path / "a", "train/learning_rate")[1]
    assert scalars(tmp_path / "a", "train/learning_rate") == pytest.approx(dict.fromkeys(range(1, 5), peak))
    shares = {5: 1.0, 6: 1 - 0.25**0.5, 7: 1 - 0.5**0.5, 8: 1 - 0.75**0.5}
    expected = {step: peak * share for step, share in shares.items()}
    assert scalars(tmp_path / "b", "train/learning_rate") == pytest.approx(expected)


def test_a_checkpoint_of_another_optimiser_is_refused(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fit(STAGE, shards, tmp_path, *QUICK, "--trainer.max_steps=1")
    with pytest.raises(SystemExit) as stop:
        fit(STAGE, shards, tmp_path, *QUICK, *OPTIONS["muon"], "--ckpt_path=last")
    assert stop.value.code == 2
    assert "model.optimisation.optimizer" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_two_gloo_processes_equal_one(shards: Path, tmp_path: Path) -> None:
    """The same weights with one process and with two, which each read half of a batch."""
    shared = [*QUICK, "--data.streams=2", "--data.effective_batch=4", "--model.optimisation.warmup_steps=1"]
    on_two = [f"--config={ROOT / 'configs' / 'trainer' / 'ddp.yaml'}", "--trainer.accelerator=cpu",
              "--trainer.precision=32-true", "--trainer.devices=2", "--data.batch_size=2"]  # fmt: skip
    commands = []
    for name, options in OPTIONS.items():
        main(["fit", *tiny(STAGE, shards, tmp_path / "one" / name, *shared, *options, "--data.batch_size=4")])
        commands.append(["fit", *tiny(STAGE, shards, tmp_path / "two" / name, *shared, *options, *on_two)])
    launch(2, commands, ROOT)
    for name in OPTIONS:
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        assert scalars(two, "train/loss") == pytest.approx(scalars(one, "train/loss"), rel=1e-3), name


def test_an_interrupted_comparison_of_options_goes_on(shards: Path, tmp_path: Path) -> None:
    arguments = [
        "--recipe", str(ROOT / "configs" / "starter" / f"{STAGE}.yaml"), "--shards", str(shards),
        "--output", str(tmp_path), "--variants", "baseline,stratified", "--seeds", "0", "--seconds", "0.2",
        "--", *tiny(STAGE, shards, tmp_path)[2:],
    ]  # fmt: skip
    assert training_options.main(arguments) == 0
    before = (tmp_path / "table.md").read_text()
    first, second = (tmp_path / variant / "0" / "result.json" for variant in ("baseline", "stratified"))
    written = first.stat().st_mtime_ns
    second.unlink()  # as if the last training had been interrupted
    assert training_options.main(arguments) == 0
    assert first.stat().st_mtime_ns == written
    assert (tmp_path / "table.md").read_text() == before
    assert [line.split("|")[1].strip() for line in before.splitlines()[2:]] == ["baseline", "stratified"]
