"""Arithmetic on whole numbers."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """The quotient ``a / b``, rounded up to a whole number.

    Args:
        a: Dividend.
        b: Divisor, above 0.
    """
    return -(-a // b)
