"""From folders and buckets of music to a manifest: files, metadata, near-duplicates, rejections."""
