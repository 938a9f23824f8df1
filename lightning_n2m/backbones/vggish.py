"""VGGish (Hershey et al. 2017), the embedding of the paper's first Fréchet distance, from a file of weights.

No package ships its weights. PyTorch users have ``vggish-10086976.pth``, a conversion of Google's
checkpoint. The embedding is the output of the last linear layer, before any activation, as the model that the
paper names exports it (tfhub google/vggish/1): its values can be negative.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torchaudio
from torch import Tensor, nn

from lightning_n2m.errors import InputError

SAMPLE_RATE = 16_000
HOP = 160
PATCH = 96  # frames of 10 ms
EMBEDDING = 128


class VGGish(nn.Module):
    """Eleven weight layers over patches of 0.96 s: 64 mel channels from 125 to 7500 Hz."""

    def __init__(self) -> None:
        super().__init__()
        # 25 ms windows, as long as the hop is 10; the magnitude (not the power) goes into the mel filters.
        self.mel = torchaudio.transforms.MelSpectrogram(
            SAMPLE_RATE, n_fft=512, win_length=400, hop_length=HOP, f_min=125.0, f_max=7500.0, n_mels=64,
            power=1.0, center=False,
        )  # fmt: skip
        layers: list[nn.Module] = []
        channels = 1
        for width in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool"):
            if isinstance(width, int):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            else:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * 4 * 6, 4096), nn.ReLU(), nn.Linear(4096, 4096), nn.ReLU(),
            nn.Linear(4096, EMBEDDING),  # no ReLU: the published embedding is taken before the activation
        )  # fmt: skip

    def log_mel(self, audio: Tensor) -> Tensor:
        """``(b, 1, t)`` at 16 kHz to ``(b, frames, 64)``."""
        with torch.autocast(audio.device.type, enabled=False):
            return torch.log(self.mel(audio.squeeze(1).float()) + 0.01).transpose(1, 2)

    def forward(self, mel: Tensor) -> Tensor:
        """Log-mel patches ``(n, 96, 64)`` to embeddings ``(n, 128)``, before activation and PCA."""
        x = self.features(mel[:, None])
        # The original stores channels last, so the flat order is time, mel, channel.
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))


def load_vggish(path: str | Path) -> VGGish:
    """VGGish with the weights of a file.

    Args:
        path: ``vggish-10086976.pth`` or another state dict with ``features.*`` and ``embeddings.*``.

    Raises:
        InputError: if the file is missing, contains code, or holds another network.
    """
    network = VGGish()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        missing, unexpected = network.load_state_dict(state, strict=False)
    except Exception as error:  # damaged bytes raise many types of error in the unpickler
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(
            f"{path} cannot be read as VGGish weights ({reason}); give vggish-10086976.pth."
        ) from error
    if unexpected or any(not key.startswith("mel.") for key in missing):
        raise InputError(f"{path} holds a network other than VGGish; give vggish-10086976.pth.")
    return network.eval().requires_grad_(False)
