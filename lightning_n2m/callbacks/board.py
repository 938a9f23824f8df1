"""TensorBoard with titles and descriptions: what a tag means stands beside its curve or player."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from lightning_n2m.storage import is_url

BEST_LOSS = "best/val_loss"
EXPECTED_LOW, EXPECTED_HIGH = "expected/val_loss_low", "expected/val_loss_high"

# Meaning of each scalar by a pattern of its tag; the first one that fits counts.
DESCRIPTIONS = {
    r"train/loss": "The weighted loss that is minimised: mean over all clips since the last point.",
    r"train/loss_t(\d)": r"Unweighted training loss in quarter \1 (0 to 3) of the times; 0 is almost clean.",
    r"train/learning_rate": "Learning rate of the step.",
    r"train/gradient_norm": "Norm of the gradient before it is clipped. Sudden peaks announce a divergence.",
    r"val/loss": (
        "Unweighted loss of the averaged weights on fixed validation clips, mean over fixed diffusion "
        "times. The curve to watch: lower is better, and it is comparable over the whole run."
    ),
    r"val/loss_t(.+)": r"The validation loss at the diffusion time \1 (0 is clean, 1 is noise).",
    r"best/val_loss": "The lowest validation loss so far.",
    r"expected/val_loss_(low|high)": r"The \1 edge of the validation loss that the recipe is known to reach.",
    r"speed/clips_per_second": "Training clips a second over all devices, without validation.",
    r"speed/audio_seconds_per_second": "Seconds of training audio a second over all devices.",
    r"speed/waiting_for_data": "Share of the time that training waits for the loader; it should be near 0.",
    r"memory/peak_gb": "Largest memory so far in GB (10^9 bytes): of the device, or of the process on a CPU.",
    r"clip_rate/.+": "Share of generated samples beyond full scale; it should be near 0.",
    r"evaluation/(.+)": r"\1, of samples that were generated for validation clips by the averaged weights.",
}


def describe(tag: str) -> str:
    """Meaning of a scalar; empty if none is known."""
    for pattern, text in DESCRIPTIONS.items():
        if match := re.fullmatch(pattern, tag):
            return match.expand(text)
    return ""


class BoardLogger(TensorBoardLogger):
    """TensorBoard logger of a training: scalars carry a description, settings are comparable over runs."""

    _has_values = False

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Write scalars with their descriptions."""
        from torch.utils.tensorboard.summary import scalar

        for tag, value in metrics.items():
            # TensorBoard's loader keeps the descriptions of tensors, not those of the old form of scalars.
            summary = scalar(tag, float(value), new_style=True)
            summary.value[0].metadata.summary_description = describe(tag)
            self._write(summary, step)

    @rank_zero_only
    def log_clip(
        self, tag: str, clip: Tensor, sample_rate: int, step: int, title: str, description: str
    ) -> None:
        """Write a clip that is shown with a title.

        Args:
            tag: Unique name, ``clip_0/output``.
            clip: ``(1, t)`` in [-1, 1].
            sample_rate: In Hz.
            step: Optimiser step.
            title: Heading of the player, which should hold the caption.
            description: Markdown behind the heading's information sign.
        """
        from tensorboard.compat.proto import types_pb2
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.audio import metadata
        from torch.utils.tensorboard.summary import audio

        wav = metadata.Encoding.Value("WAV")
        value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(title, description, wav))
        # The tensor form of a clip is a matrix [[file, label]]; TensorBoard no longer shows the label.
        sound = audio(tag, clip, sample_rate=sample_rate).value[0].audio.encoded_audio_string
        value.tensor.dtype = types_pb2.DT_STRING
        value.tensor.tensor_shape.dim.add(size=1)
        value.tensor.tensor_shape.dim.add(size=2)
        value.tensor.string_val.extend([sound, b""])
        self._write(Summary(value=[value]), step)

    @rank_zero_only
    def log_settings(self, settings: Mapping[str, bool | int | float | str]) -> None:
        """Write the settings of the run; the tab HPARAMS compares runs, with their best validation loss.

        Args:
            settings: Values by key.
        """
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(dict(settings), {BEST_LOSS: None}):
            self._write(summary, None)
        self.save()

    @rank_zero_only
    def log_loss_band(self) -> None:
        """Describe a chart of the validation loss inside its expected band, in the tab CUSTOM SCALARS."""
        chart = ["Margin", ["val/loss", EXPECTED_LOW, EXPECTED_HIGH]]
        self._has_values = True
        self.experiment.add_custom_scalars({"Is it going well?": {"val/loss in its expected band": chart}})

    @rank_zero_only
    def save(self) -> None:
        """Write what is buffered; nothing for a training that can still be refused."""
        if self._has_values:
            super().save()

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Close the event file; that of a refused training, which Lightning opens early, is removed."""
        super().finalize(status)
        if status != "success" and not self._has_values and not is_url(self.log_dir):
            for path in Path(self.log_dir).glob(f"events.out.tfevents.*.{os.getpid()}.*"):
                path.unlink()

    def _write(self, summary: Any, step: int | None) -> None:
        self._has_values = True
        self.experiment._get_file_writer().add_summary(summary, step)


def settings_of(config: Mapping[str, Any]) -> dict[str, bool | int | float | str]:
    """Settings of a run that decide how it trains, from its config.

    Args:
        config: The config of ``fit`` as nested mappings.

    Returns:
        Scalars by key; lists as text.
    """
    settings: dict[str, bool | int | float | str] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for name, item in value.items():
                add(key if name == "init_args" else f"{key}.{name}", item)
        elif isinstance(value, bool | int | float):
            settings[key] = value
        elif isinstance(value, str | list | tuple) and value:
            settings[key] = str(value).rpartition(".")[2] if key.endswith("class_path") else str(value)[:100]

    for section, names in (
        ("model", None),
        ("ema", None),
        ("data", ("batch_size", "effective_batch", "streams")),
        ("trainer", ("precision", "max_steps", "accumulate_grad_batches", "gradient_clip_val")),
    ):
        values = config.get(section) or {}
        values = {**values, **(values.get("init_args") or {})}
        for name, value in values.items():
            if name not in ("init_args", "sampling") and (names is None or name in names):
                add(f"{section}.{name}", value)
    if config.get("weights"):
        settings["weights"] = str(config["weights"])[:100]
    return settings
