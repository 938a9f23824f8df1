"""Our own joint model: two towers, trained to find each other's side of a pair (Huang et al. 2022)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from lightning_n2m.mulan.audio_tower import AudioTower
from lightning_n2m.mulan.contrastive import contrastive_loss, gather
from lightning_n2m.mulan.joint import average, fingerprint, windows
from lightning_n2m.mulan.pairs import PairBatch
from lightning_n2m.mulan.retrieval import RANKS, measurable_tags, measure
from lightning_n2m.mulan.text_tower import TextTower
from lightning_n2m.seeding import derive_seed
from lightning_n2m.stages.run_checks import check_stage, check_weights, keep_learning_rate, limit_steps
from lightning_n2m.stages.settings import Optimisation

_HOTTEST = 100.0  # Inverse temperature beyond which training becomes unstable (Radford et al. 2021).


@dataclass(frozen=True)
class _Seen:
    """What a batch of validation came to: vectors of clips and captions, and whose they are."""

    audio: Tensor
    text: Tensor
    tracks: list[str]
    tags: list[list[str]]


class TwoTowers(LightningModule):
    """An audio tower and a text tower that end on one unit sphere. It is a `JointModel`.

    Args:
        audio: Windows of ten seconds to vectors.
        text: Sentences and tags to vectors.
        optimisation: Optimiser and learning rate.
        temperature: Of the softmax at the beginning; it is learned.
        seed: Seed of the dropout.
    """

    def __init__(
        self,
        audio: AudioTower,
        text: TextTower,
        optimisation: Optimisation = Optimisation(),
        temperature: float = 0.07,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.audio, self.text, self.optimisation, self.seed = audio, text, optimisation, seed
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / temperature)))
        self._seen: list[_Seen] = []
        self._tags: dict[str, Tensor] = {}

    def setup(self, stage: str) -> None:
        """End the training where its learning rate reaches zero.

        Raises:
            InputError: if ``trainer.max_steps`` is above ``optimisation.total_steps``.
        """
        if stage == "fit" and self._trainer is not None:
            limit_steps(self._trainer, self.optimisation)

    @property
    def sample_rate(self) -> int:
        """Rate of the audio, in Hz."""
        return self.audio.sample_rate

    @property
    def dimension(self) -> int:
        """Length of the embeddings."""
        return self.text.dimension

    @property
    def name(self) -> str:
        """What the embeddings depend on: the frozen models by name, and the trained weights."""
        weights = [tensor for _, tensor in sorted(self.state_dict().items())]
        return f"two-towers {self.audio.name}, {self.text.encoder.model} {fingerprint(weights)}"

    def audio_vectors(self, features: Tensor) -> Tensor:
        """Features of windows to unit vectors ``(b, dimension)``."""
        return nn.functional.normalize(self.audio(features).float(), dim=-1)

    def text_vectors(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, dimension)``."""
        return nn.functional.normalize(self.text(self.text.features(texts, self.device)).float(), dim=-1)

    @torch.no_grad()
    def embed_audio(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` to unit vectors ``(b, dimension)``."""
        return self.audio_vectors(self.audio.features(audio.to(self.device))).cpu()

    @torch.no_grad()
    def embed_text(self, texts: Sequence[str]) -> Tensor:
        """Texts to unit vectors ``(n, dimension)``."""
        return self.text_vectors(texts).cpu()

    def _features(self, batch: PairBatch) -> Tensor:
        """Features of a batch: cached ones, or those of its audio, ``(b, windows, ...)``."""
        if "features" in batch:
            return batch["features"].float()
        parts = windows(batch["audio"].squeeze(1), self.sample_rate)
        return self.audio.features(parts.flatten(0, 1)).unflatten(0, parts.shape[:2])

    def training_step(self, batch: PairBatch, batch_idx: int) -> Tensor:
        """Contrastive loss of one window a clip and one caption, over the pairs of all ranks."""
        # Dropout belongs to the samples: a resumed run then repeats the uninterrupted one.
        torch.manual_seed(derive_seed(self.seed, "dropout", int(batch["number"][0])))
        audio = self.audio_vectors(self._features(batch)[:, 0])
        text = self.text_vectors(batch["caption"])
        pairs = zip(batch["track"], batch["caption"], strict=True)
        identity = torch.tensor([[_number(track), _number(caption)] for track, caption in pairs])
        scale = self.log_scale.exp().clamp(max=_HOTTEST)
        loss = contrastive_loss(gather(audio), gather(text), scale, gather(identity.to(self.device)))
        self.log("train/loss", loss, prog_bar=True, batch_size=len(audio))
        self.log("train/temperature", 1 / scale, batch_size=len(audio))
        self.log("train/learning_rate", self.trainer.optimizers[0].param_groups[0]["lr"])
        return loss

    def validation_step(self, batch: PairBatch, batch_idx: int) -> None:
        """Embed; what is found is counted at the end, over all clips."""
        self._embed(batch)

    def test_step(self, batch: PairBatch, batch_idx: int) -> None:
        """The same on the test split."""
        self._embed(batch)

    def on_validation_epoch_end(self) -> None:
        """Recall and tags of the validation split."""
        self._measure("val")

    def on_test_epoch_end(self) -> None:
        """Recall and tags of the test split."""
        self._measure("test")

    def configure_optimizers(self) -> Any:
        """Adam and its schedule, stepped by step: Lightning's default would step once an epoch."""
        optimizer, schedule = self.optimisation.build(self)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _embed(self, batch: PairBatch) -> None:
        """Embed clips, captions and tags: only here, inside the step, are the averaged weights live."""
        features = self._features(batch)
        vectors = average(self.audio_vectors(features.flatten(0, 1)).unflatten(0, features.shape[:2]))
        new = sorted({tag for tags in batch["tags"] for tag in tags} - self._tags.keys())
        self._tags.update(zip(new, self.embed_text(new), strict=True) if new else ())
        self._seen.append(
            _Seen(vectors.cpu(), self.embed_text(batch["caption"]), batch["track"], batch["tags"])
        )

    def _measure(self, prefix: str) -> None:
        """Every rank sees the whole split (it is small), so that every rank measures the same."""
        seen, vectors, self._seen, self._tags = self._seen, self._tags, [], {}
        tags = [tags for part in seen for tags in part.tags]
        measured = measurable_tags(tags)
        found = measure(
            torch.cat([part.audio for part in seen]),
            torch.cat([part.text for part in seen]),
            [track for part in seen for track in part.tracks],
            tags,
            measured,
            torch.stack([vectors[tag] for tag in measured]) if measured else torch.zeros(0, self.dimension),
        )
        for k in RANKS:
            self.log(f"{prefix}/recall_{k}_text_to_audio", found.text_to_audio[k], prog_bar=k == RANKS[-1])
            self.log(f"{prefix}/recall_{k}_audio_to_text", found.audio_to_text[k])
            self.log(f"{prefix}/recall_{k}_chance", found.chance[k])
        if measured:
            self.log(f"{prefix}/tag_auc", found.tag_auc, prog_bar=True)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the names of the model and of its optimiser."""
        checkpoint["stage"] = type(self).__name__
        checkpoint["optimizer"] = self.optimisation.optimizer

    def check_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to resume from a checkpoint that does not belong to this config.

        Raises:
            InputError: if model, parameter shapes or optimiser differ.
        """
        check_weights(checkpoint, self, self.optimisation)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse the checkpoint of another model.

        Raises:
            InputError: if the models differ; the message names both.
        """
        is_fitting = self._trainer is not None and self._trainer.state.fn == TrainerFn.FITTING
        if is_fitting and "state_dict" in checkpoint:
            self.check_checkpoint(checkpoint)
        check_stage(checkpoint, self)
        keep_learning_rate(checkpoint, self.optimisation)


def _number(text: str) -> int:
    """A number that other texts do not have, for what must travel between ranks as a tensor."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)
