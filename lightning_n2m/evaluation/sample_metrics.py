"""Metrics of the samples that a training generates at its validations (``--samples.evaluate``)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_n2m.backbones import musicnn
from lightning_n2m.callbacks.sample_logger import SampleMetrics
from lightning_n2m.errors import InputError, check_range
from lightning_n2m.evaluation.embedders import MUSICNN
from lightning_n2m.evaluation.similarity import TagSpace, similarity
from lightning_n2m.evaluation.tagger import predict_tags, tag_divergence


class TaggerMetrics(SampleMetrics):
    """Tags of the evaluating tagger (musicnn-MTT): generated clips against references and captions.

    The values follow a training; they are not those of the paper's protocol, which ``test`` measures on a
    whole cascade. The tagger must not choose checkpoints of a model that it evaluates later.

    Args:
        clips: Number of validation clips, at most those of the first validation batch.
    """

    def __init__(self, clips: int = 16) -> None:
        check_range("samples.evaluate.clips", clips, 2, 4096)
        self.clips = clips

    def __call__(
        self, generated: Tensor, reference: Tensor, captions: Sequence[str], sample_rate: int
    ) -> dict[str, float]:
        """KL divergence of the tags, and cosines of tags with the reference and with the caption.

        Raises:
            InputError: if the clips are shorter than the 3 s that the tagger needs.
        """
        seconds = generated.shape[-1] / sample_rate
        if seconds * musicnn.SAMPLE_RATE < musicnn.PATCH * musicnn.HOP:
            raise InputError(
                f"--samples.evaluate needs clips of 3 s, and this stage trains on {seconds:g} s; remove it."
            )
        # Validation runs in inference mode, whose tensors cannot be mixed with the cached network's.
        with torch.inference_mode(False), torch.no_grad():
            generated_logits, reference_logits = (
                predict_tags(clips.clone(), sample_rate).logits.float().cpu()
                for clips in (generated, reference)
            )
        space = TagSpace(reference_logits)
        vectors, references = space.project(generated_logits), space.project(reference_logits)
        return {
            f"kl_of_tags_{MUSICNN}": float(tag_divergence(generated_logits, reference_logits).mean()),
            f"audio_audio_similarity_{MUSICNN}": similarity(vectors, references).value,
            f"text_audio_similarity_{MUSICNN}": similarity(vectors, space.embed_text(captions)).value,
        }
