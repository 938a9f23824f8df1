"""From shards on disk to batches: the shard contract, the training stream, the text batch, prompts."""
