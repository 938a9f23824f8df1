"""From a manifest to webdataset shards: clips, splits, derived forms, statistics."""
