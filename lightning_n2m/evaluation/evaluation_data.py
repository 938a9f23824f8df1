"""Everything that the metrics of an evaluation are computed from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from torch import Tensor

from lightning_n2m.data.evaluation_set import EvaluationItem
from lightning_n2m.evaluation.attribute_predictions import AttributeProbes, TempoKeys
from lightning_n2m.evaluation.clip_features import ClipFeatures
from lightning_n2m.evaluation.memorisation import MemorisationResult
from lightning_n2m.evaluation.reference_embeddings import Reference
from lightning_n2m.mulan.joint import JointModel


@dataclass(frozen=True)
class EvaluationData:
    """Features of generated clips and references, and embeddings of other recordings.

    Args:
        items: Prompts and known facts, in the order of the features.
        generated: Features of the generated clips.
        references: Features of the reference clips of the same prompts.
        training: Embeddings of training music of the same domain; of the set's own references if it has no
            training music.
        has_training: Whether ``training`` is training music.
        held_out: Embeddings of held-out recordings by domain, on which evaluators themselves are tested.
        domain: Domain of the prompts.
        joint_models: Joint models, whose vectors of clips are among the features.
        embedder_rates: Names and sample rates of the embedders, in order.
        degraded: For each degradation and embedder, embeddings of degraded references.
        other_part_logits: Tags of another part of each reference clip; none where clips are too short.
        generated_tempo_key: Tempo and key of the generated clips, where prompts request them.
        reference_tempo_key: Tempo and key of the reference clips.
        probes: Attribute probes; none without training music of known truth.
        memorisation: Result of the memorisation check; none without training music.
        one_seed_envelopes: Loudness of clips of different prompts that share one noise, ``(clips, frames)``.
        other_seed_envelopes: The same for clips of the same prompts whose noise differs.
        one_seed_spectra: Median spectra of clips of different prompts of one noise, ``(clips, bins)``.
        other_seed_spectra: The same for clips of the same prompts whose noise differs.
        seed: Seed of the bootstrap.
    """

    items: Sequence[EvaluationItem]
    generated: ClipFeatures
    references: ClipFeatures
    training: Reference
    has_training: bool
    held_out: Mapping[str, Reference]
    domain: str
    joint_models: Sequence[JointModel] = ()
    embedder_rates: Mapping[str, int] = field(default_factory=dict)
    degraded: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    other_part_logits: Tensor | None = None
    generated_tempo_key: TempoKeys = field(default_factory=dict)
    reference_tempo_key: TempoKeys = field(default_factory=dict)
    probes: AttributeProbes | None = None
    memorisation: MemorisationResult | None = None
    one_seed_envelopes: Tensor | None = None
    other_seed_envelopes: Tensor | None = None
    one_seed_spectra: Tensor | None = None
    other_seed_spectra: Tensor | None = None
    seed: int = 0

    @property
    def expected_tags(self) -> list[str | Set[str]]:
        """For each item its expected tags, or the prompt that names them."""
        return [item.prompt if item.tags is None else set(item.tags) for item in self.items]

    @property
    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return [item.prompt for item in self.items]
