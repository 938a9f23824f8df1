"""The shards of noise of tests/data."""

from __future__ import annotations

from tests.data.conftest import build, derived  # noqa: F401
