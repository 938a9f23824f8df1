"""Command line: LightningCLI for training, evaluation and sampling, and a few commands beside it."""
