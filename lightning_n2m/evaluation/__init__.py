"""Evaluation of cascades: prompts with reference recordings, embeddings, metrics, and a report.

A metric is a function in `lightning_n2m.evaluation.metrics`, listed in its ``METRICS``. It takes an
`EvaluationData` and yields `MetricValue` objects; bounds, report, plots and files follow from those.

Evaluation models take no part in training or labelling: musicnn trained on MagnaTagATune evaluates,
musicnn trained on the Million Song Dataset may label training data and is not used here.
"""
