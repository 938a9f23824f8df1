"""Settings of all tests."""

from __future__ import annotations

import os

import torch
from hypothesis import settings

# A missing model must fail at once, without a network request.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples on every machine, however slow it is.
settings.register_profile("tests", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("tests")

torch.set_num_threads(1)
