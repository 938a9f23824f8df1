"""Diffusion in continuous time.

Conventions: continuous time t in [0, 1], t = 0 clean data, t = 1 noise, variance
preserving, ``x_t = alpha_t x + sigma_t epsilon`` with ``alpha_t^2 + sigma_t^2 = 1`` and
``log-SNR = ln(alpha_t^2 / sigma_t^2)`` (section 3.1 of the paper).
"""
