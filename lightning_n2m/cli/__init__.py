"""The command line: LightningCLI for what trains and samples, and a few commands beside it."""
