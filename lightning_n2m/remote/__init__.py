"""Stage folders at URLs (``hf://``, ``https://``, ``s3://``, ``gs://``), downloaded once into a cache.

The server may be malicious: only files of fixed names are requested, their sizes are bounded, and their
content is checked against every hash that is known. `lightning_n2m.remote.bundles` is the entry.
"""
