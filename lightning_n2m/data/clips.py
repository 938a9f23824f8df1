"""From the bytes of a clip to a training example: the crop is decoded last, and only the crop."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch

from lightning_n2m.audio.io import probe, read, to_mono
from lightning_n2m.audio.resample import resample
from lightning_n2m.data.shard_file import RawClip
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.diffusion.random import seed_of
from lightning_n2m.errors import InputError


@dataclass(frozen=True)
class ClipDecoder:
    """Decodes a crop and draws a caption.

    Args:
        sample_rate: Rate to deliver, in Hz.
        seconds: Length to deliver.
        text: Where captions are drawn; none for a stage without text.
        seed: Seed of crop and caption, together with the sample's number.
        centred: Take the middle of the clip instead of a random place.
    """

    sample_rate: int
    seconds: float
    text: TextBatch | None
    seed: int = 0
    centred: bool = False

    def __call__(self, raw: RawClip, number: int) -> dict[str, Any]:
        """One example: ``audio`` ``(1, t)``, ``caption``, ``key`` and ``number``.

        Raises:
            InputError: if the audio is damaged or shorter than what the stage needs.
        """
        draw = random.Random(seed_of(self.seed, "clip", number))
        name = f"Clip {raw.clip.key} of {raw.shard}"
        try:
            info = probe(raw.audio)
            frames = round(self.seconds * info.sample_rate)
            spare = info.frames - frames
            if spare < 0:
                raise InputError(
                    f"it is {info.duration:.2f} s long, but this stage trains on {self.seconds:g} s; "
                    "shorten model.seconds or build longer clips"
                )
            start = spare // 2 if self.centred else draw.randint(0, spare)
            audio = to_mono(read(raw.audio, start, frames).samples)
        except InputError as error:
            raise InputError(
                f"{name} cannot be used: {str(error).rstrip('.')}; build its shard again."
            ) from error
        audio = resample(audio, info.sample_rate, self.sample_rate)[
            :, : round(self.seconds * self.sample_rate)
        ]
        if not torch.isfinite(audio).all():
            raise InputError(
                f"{name} holds samples that are no numbers; build its shard again from a sound file."
            )
        caption = self.text.draw(raw.clip, raw.captions, draw) if self.text else ""
        return {"audio": audio, "caption": caption, "key": raw.clip.key, "number": number}
