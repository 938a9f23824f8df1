from __future__ import annotations

import math
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from lightning_n2m.integers import ceil_div


@given(a=st.integers(-(10**20), 10**20), b=st.integers(1, 10**6))
def test_quotients_are_rounded_up(a, b):
    assert ceil_div(a, b) == math.ceil(Fraction(a, b))
