"""From the encoded audio of a clip to a training example: only the crop is decoded."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lightning_n2m.audio.io import read, to_mono
from lightning_n2m.audio.mel import MelSettings
from lightning_n2m.conditioning.numbers import numbers_of_truth, to_tensors
from lightning_n2m.data.clip_audio import probe_clip
from lightning_n2m.data.derived_audio import TrainingFormat, from_bytes, is_derived
from lightning_n2m.data.derived_features import FeatureReader
from lightning_n2m.data.schema import SAMPLE_RATE
from lightning_n2m.data.shard_reader import RawClip
from lightning_n2m.data.text_batch import TextBatch
from lightning_n2m.errors import InputError
from lightning_n2m.seeding import derive_seed


@dataclass(frozen=True)
class ClipDecoder:
    """Decodes a crop and draws a caption.

    A crop is the same, except for rounding, whether its clip is stored at 24 kHz or in a derived form: it
    begins where both have a sample, and it is cut out of the resampled clip, not resampled after the cut.

    Args:
        sample_rate: Rate of the result in Hz.
        seconds: Length of the result.
        text: Draws the captions; none for a stage without text.
        seed: Seed of crop and caption, together with the sample's number.
        centred: Take the middle of the clip instead of a random position.
        mel: Deliver the log-mel of this analysis instead of audio.
        numbers: Deliver tempo, key and beats of the clip's known facts.
        features: Readers of the features that the training's auxiliary losses predict.
    """

    sample_rate: int
    seconds: float
    text: TextBatch | None
    seed: int = 0
    centred: bool = False
    mel: MelSettings | None = None
    numbers: bool = False
    features: tuple[FeatureReader, ...] = ()

    def __call__(self, raw: RawClip, number: int) -> dict[str, Any]:
        """One example, see `schema.Batch`: ``audio`` ``(1, t)`` or ``mel`` ``(c, frames)``, and the others.

        Raises:
            InputError: if the clip is damaged or shorter than what the stage needs.
        """
        draw = random.Random(derive_seed(self.seed, "clip", number))
        name = f"Clip {raw.clip.key} of {raw.shard}"
        try:
            crop, start_s = self._crop(raw, draw)
            features = {reader.name: reader.crop(raw, start_s, self.seconds) for reader in self.features}
        except (InputError, ValueError) as error:
            raise InputError(
                f"{name} cannot be used: {str(error).rstrip('.')}; build its shard again."
            ) from error
        if not crop.sum().isfinite():  # One NaN or infinite sample makes the sum so; cheaper than a mask.
            raise InputError(
                f"{name} holds NaN or infinite samples; build its shard again from an intact file."
            )
        caption = self.text.draw(raw.clip, raw.captions, draw) if self.text else ""
        kind = "mel" if self.mel else "audio"
        example = {kind: crop, "caption": caption, "key": raw.clip.key, "number": number}
        if self.numbers:
            example["numbers"] = to_tensors(numbers_of_truth(raw.clip.truth, raw.clip.start_s + start_s))
        return example | {"features": features} if features else example

    def _crop(self, raw: RawClip, draw: random.Random) -> tuple[Tensor, float]:
        """The crop, and its start within the clip in seconds."""
        form = TrainingFormat(self.sample_rate, self.mel)
        derived = is_derived(raw.audio)
        if derived:
            rate, total = SAMPLE_RATE, round(raw.clip.duration_s * SAMPLE_RATE)
        else:
            info = probe_clip(raw)
            rate, total = info.sample_rate, info.frames
        length = round(self.seconds * rate)
        if total < length:
            raise InputError(
                f"it is {total / rate:.2f} s long, but this stage trains on {self.seconds:g} s; "
                "shorten model.seconds or build longer clips"
            )
        step, steps = form.grid(rate)
        spare = max(0, total // step - math.ceil(length / step))
        position = spare // 2 if self.centred else draw.randint(0, spare)
        if derived:
            crop = from_bytes(raw.audio, position * steps, form.length(self.seconds), form.channels)
            return crop, position * step / rate
        # Decode the crop with the context that the filters need on either side, and cut after resampling.
        start = position * step
        context = min(position, math.ceil(form.margin(rate) / step))
        begin = start - context * step
        end = min(total, start + length + form.margin(rate) + step)
        audio = to_mono(read(raw.audio, begin, end - begin).samples)
        offset = context * steps
        return form.of(audio, rate)[:, offset : offset + form.length(self.seconds)], start / rate
