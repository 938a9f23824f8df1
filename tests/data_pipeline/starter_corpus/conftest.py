"""The real accompanist and synthesizer."""

from __future__ import annotations

import pytest

from data_pipeline.starter_corpus import debian
from data_pipeline.starter_corpus.mma import Accompanist
from data_pipeline.starter_corpus.synthesizer import Synthesizer


# Whatever is missing is fetched from Debian, as `python -m data_pipeline starter` does.
@pytest.fixture(scope="module")
def accompanist() -> Accompanist:
    return Accompanist(debian.cache_folder())


@pytest.fixture(scope="module")
def synthesizer() -> Synthesizer:
    return Synthesizer(debian.cache_folder(), 2)
