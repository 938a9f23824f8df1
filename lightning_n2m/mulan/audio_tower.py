"""The audio tower: a frozen music tagger with a trained projection, or a network on log-mels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from lightning_n2m.audio.mel import MelSettings, log_mel
from lightning_n2m.backbones.musicnn import SAMPLE_RATE, Corpus, load_musicnn


class AudioTower(nn.Module):
    """Audio to a vector, in two steps: features, which have nothing to learn, and what is trained.

    Attributes:
        sample_rate: Rate of the audio, in Hz.
        feature_size: Length of the features of a window where they are worth keeping; None where they
            are larger than the audio.
        name: What the features depend on: a cache of others is no use.
    """

    sample_rate: int
    feature_size: int | None = None
    name: str

    def features(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` to features, without gradients."""
        raise NotImplementedError


class TaggerTower(AudioTower):
    """musicnn, frozen, and two layers that are trained on its features.

    The tagger is not registered: neither checkpoints nor moving averages hold it. It is the one that
    was trained on the Million Song Dataset, since the other one is an evaluation model.

    Args:
        tagger: Training corpus of the tagger.
        dimension: Length of the vector.
        hidden: Width of the hidden layer.
        dropout: Dropout rate.
        precision: Of the tagger; bfloat16 is three times faster where the processor has AMX.
    """

    def __init__(
        self,
        tagger: Corpus = "MSD",
        dimension: int = 128,
        hidden: int = 512,
        dropout: float = 0.3,
        precision: Literal["float32", "bfloat16"] = "float32",
    ) -> None:
        super().__init__()
        self.tagger, self.precision = tagger, precision
        self.sample_rate, self.feature_size = SAMPLE_RATE, 2 * 753 + 200
        self.name = f"musicnn {tagger} {precision}"
        self.project = nn.Sequential(
            nn.LayerNorm(self.feature_size),
            nn.Dropout(dropout),
            nn.Linear(self.feature_size, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, dimension),
        )

    @torch.no_grad()
    def features(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` to ``(b, 1706)``: what the tagger's last layers see, over patches of 3 s."""
        network = load_musicnn(self.tagger).to(audio.device)
        with torch.autocast(audio.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            output = network(audio[:, None].float())
        both = torch.cat([output.pooled.float(), output.embedding], dim=-1)
        return both.unflatten(0, (len(audio), -1)).mean(dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Features ``(b, 1706)`` to ``(b, dimension)``."""
        return self.project(features)


class LogMelTower(AudioTower):
    """A residual network on log-mels, all of it trained: ResNet-50 by default, as in MuLan.

    Args:
        dimension: Length of the vector.
        mel: Analysis of the log-mel.
        depths: Blocks of each level.
        widths: Channels of each level.
        stem: Channels of the first convolution.
        block: Kind of block.
    """

    def __init__(
        self,
        dimension: int = 128,
        mel: MelSettings = MelSettings(),
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (256, 512, 1024, 2048),
        stem: int = 64,
        block: Literal["bottleneck", "basic"] = "bottleneck",
    ) -> None:
        super().__init__()
        from transformers import ResNetConfig, ResNetModel

        self.mel, self.sample_rate = mel, mel.sample_rate
        self.name = f"log-mel {mel}"
        self.network = ResNetModel(
            ResNetConfig(
                num_channels=1,
                embedding_size=stem,
                depths=list(depths),
                hidden_sizes=list(widths),
                layer_type=block,
            )
        )
        self.project = nn.Linear(widths[-1], dimension)

    @torch.no_grad()
    def features(self, audio: Tensor) -> Tensor:
        """Windows ``(b, t)`` to log-mels ``(b, 1, channels, frames)``."""
        return log_mel(audio[:, None], self.mel)[:, None]

    def forward(self, features: Tensor) -> Tensor:
        """Log-mels ``(b, 1, channels, frames)`` to ``(b, dimension)``."""
        return self.project(self.network(features).pooler_output.flatten(1))
