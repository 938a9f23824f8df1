"""One network evaluation in PyTorch, in ONNX Runtime, and in ONNX Runtime with weights in 8 bits.

``make bench NAMES=onnx`` measures the starter's spectrogram route and writes ``build/onnx/table.md``. The
contenders take turns, and all times are medians. Processor time counts other work on the machine less, but
is measured for one thread only: threads of PyTorch that wait for each other count as working. The
signal-to-noise ratio is that of the output beside PyTorch's, at three diffusion times of a clip of music.

Weights in 8 bits are measured here and not offered, because nothing of them pays on a processor without VNNI
or AMX: products of matrices are as fast as in 32 bits, and convolutions take three times as long.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.layers import KINDS, Contender
from benchmarks.music import ROOT
from benchmarks.result import Result
from lightning_n2m.audio.io import read
from lightning_n2m.audio.resample import resample_file
from lightning_n2m.networks.conditions import Conditions
from lightning_n2m.networks.onnx_export import to_onnx
from lightning_n2m.networks.onnx_network import OnnxNetwork
from lightning_n2m.seeding import PerSampleGenerator
from lightning_n2m.stages.base import Stage
from lightning_n2m.stages.bundle import load_stage

STAGES = ("spectrogram_generator", "spectrogram_vocoder", "super_resolution")
TIMES = (0.2, 0.5, 0.8)
GENERATOR_SECONDS = 30.0  # refiners evaluate windows of the length that they were trained on
ROUNDS = 5
CLOCKS = ((1, time.process_time), (1, time.perf_counter), (2, time.perf_counter))  # threads, clock
FOLDER = Path("build/onnx")
Network = Callable[[Tensor, Tensor, Conditions], Tensor]


def in_8_bits(content: bytes, operators: Sequence[str]) -> bytes:
    """A network whose products of some operators are those of 8-bit integers (dynamic quantisation)."""
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "source.onnx", Path(folder) / "target.onnx"
        source.write_bytes(content)
        quantize_dynamic(source, target, op_types_to_quantize=list(operators))
        return target.read_bytes()


def contenders(stage: Stage, inputs: tuple[Tensor, Tensor, Conditions]) -> dict[str, Network]:
    """The network in each form."""
    content = to_onnx(stage.network)
    plain = Contender(stage.network, inputs, KINDS.values(), bf16=False)

    def by_runtime(content: bytes) -> Network:
        return OnnxNetwork(stage.network, content, "network.onnx")

    return {
        "PyTorch's own layers": lambda *_: plain.output(),
        "PyTorch, as used": stage.network,
        "ONNX Runtime": by_runtime(content),
        "ONNX Runtime, 8-bit matrix products": by_runtime(in_8_bits(content, ["MatMul", "Gemm"])),
        "ONNX Runtime, all weights 8-bit": by_runtime(in_8_bits(content, ["MatMul", "Gemm", "Conv"])),
    }


def music(stage: Stage) -> tuple[Tensor, Conditions]:
    """Clean data of a clip of music in the diffusion's space, and the conditions that belong to it."""
    file = read(ROOT / "pretrained/examples/spectrogram/waltz.ogg")
    seconds = GENERATOR_SECONDS if stage.conditioner is None else stage.seconds
    audio = resample_file(file.samples, file.sample_rate, stage.sample_rate).mean(0).repeat(8)
    audio = audio[None, None, : round(seconds * stage.sample_rate)]
    x0 = stage.to_x0(stage.target(audio))
    conditions = Conditions()
    if stage.conditioner is not None:
        level, rng = stage.sampling.conditioning_noise, PerSampleGenerator("0 onnx", [0], x0.device)
        signal = stage.conditioner.degrade(audio)
        conditions = stage.conditioner.for_sampling(
            signal, x0.shape[-1], level, stage.objective.schedule, rng
        )
    if stage.text is not None:
        conditions = stage.with_text(conditions, ["a slow waltz for solo piano"])
    return x0, conditions


def noised(stage: Stage, x0: Tensor, at: float) -> tuple[Tensor, Tensor]:
    t = torch.full((len(x0),), at)
    noise = torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))
    return stage.objective.schedule.at(t).diffuse(x0, noise), t


def seconds(
    networks: Sequence[Network], inputs: tuple[Tensor, Tensor, Conditions], clock: Callable[[], float]
) -> list[float]:
    """Median time of an evaluation by each network; the first round is not counted."""
    measured: list[list[float]] = [[] for _ in networks]
    for number in range(1 + ROUNDS):
        for network, of_network in zip(networks, measured, strict=True):
            began = clock()
            network(*inputs)
            if number:
                of_network.append(clock() - began)
    return [statistics.median(of_network) for of_network in measured]


def decibels(output: Tensor, reference: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (output - reference).square().sum()))


@torch.no_grad()
def measure() -> Iterable[Result]:
    peer = f"PyTorch {version('torch').partition('+')[0]}"
    lines = [
        "| stage | network | processor ms, 1 thread | elapsed ms, 1 thread | elapsed ms, 2 threads "
        f"| SNR at t = {', '.join(map(str, TIMES))} |",
        "|---|---|---|---|---|---|",
    ]
    for name in STAGES:
        torch.set_num_threads(1)
        stage = load_stage(ROOT / "pretrained" / name)
        x0, conditions = music(stage)
        inputs = [(*noised(stage, x0, t), conditions) for t in TIMES]
        networks = contenders(stage, inputs[1])
        references = [stage.network(*values) for values in inputs]
        columns = []
        for threads, clock in CLOCKS:
            torch.set_num_threads(threads)
            columns.append(seconds(list(networks.values()), inputs[1], clock))
        processor = dict(zip(networks, columns[0], strict=True))
        yield Result(
            f"onnx: evaluation of starter/{name}, one thread",
            1e3 * processor["ONNX Runtime"],
            1e3 * processor["PyTorch, as used"],
            peer,
            "ms",
            higher_is_better=False,
        )
        for number, (form, network) in enumerate(networks.items()):
            ratios = "reference"
            if form.startswith("ONNX"):
                pairs = zip(inputs, references, strict=True)
                ratios = ", ".join(f"{decibels(network(*v), output):.0f}" for v, output in pairs) + " dB"
            milliseconds = " | ".join(f"{1e3 * column[number]:.0f}" for column in columns)
            lines.append(f"| {name} | {form} | {milliseconds} | {ratios} |")
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))
