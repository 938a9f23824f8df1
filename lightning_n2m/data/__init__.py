"""Floor 2: from shards on disk to batches; never imports the stages it feeds."""
