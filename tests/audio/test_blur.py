from __future__ import annotations

import math

import pytest
import torch

from lightning_n2m.audio.blur import blur_1d, blur_2d, gaussian_kernel


def weight(width, std):
    """Kernel from the density of the normal distribution, tap by tap."""
    taps = [math.exp(-(((i - (width - 1) / 2) / std) ** 2) / 2) for i in range(width)]
    return [tap / sum(taps) for tap in taps]


def dense(length, width, std):
    """Blur as a matrix; samples beyond the ends equal the end."""
    matrix = torch.zeros(length, length, dtype=torch.float64)
    for row in range(length):
        for tap, value in enumerate(weight(width, std)):
            matrix[row, min(max(row + tap - (width - 1) // 2, 0), length - 1)] += value
    return matrix


@pytest.mark.parametrize("width", [1, 5, 10])
def test_kernels_are_normal_densities_with_sum_1(width):
    stds = [0.1, 0.8, 5.0]
    kernels = gaussian_kernel(width, torch.tensor(stds))
    expected = torch.tensor([weight(width, std) for std in stds]) if width != 10 else None
    if expected is not None:
        torch.testing.assert_close(kernels, expected)
    torch.testing.assert_close(kernels.sum(1), torch.ones(3))
    torch.testing.assert_close(kernels, kernels.flip(1))


@pytest.mark.parametrize("width", [5, 10])
def test_each_sample_is_blurred_with_its_own_standard_deviation(width):
    x = torch.randn(3, 2, 30, generator=torch.Generator().manual_seed(0))
    stds = [0.3, 1.0, 5.0]
    blurred = blur_1d(x, torch.tensor(stds), width)
    for row, std, out in zip(x.double(), stds, blurred.double(), strict=True):
        torch.testing.assert_close(out, row @ dense(30, width, std).T, atol=1e-5, rtol=0)


def test_the_default_kernels_are_the_papers():
    x = torch.randn(1, 1, 40, generator=torch.Generator().manual_seed(0))
    std = torch.tensor([2.0])
    assert torch.equal(blur_1d(x, std), blur_1d(x, std, 10))
    assert torch.equal(blur_2d(x, std), blur_2d(x, std, 5))


def test_spectrograms_are_blurred_along_both_axes():
    x = torch.randn(2, 8, 20, generator=torch.Generator().manual_seed(0))
    stds = [0.2, 1.0]
    blurred = blur_2d(x, torch.tensor(stds))
    for row, std, out in zip(x.double(), stds, blurred.double(), strict=True):
        expected = dense(8, 5, std) @ row @ dense(20, 5, std).T
        torch.testing.assert_close(out, expected, atol=1e-5, rtol=0)


def test_blur_keeps_a_constant_and_reduces_noise():
    std = torch.tensor([1.0])
    torch.testing.assert_close(blur_1d(torch.full((1, 1, 50), 0.7), std), torch.full((1, 1, 50), 0.7))
    torch.testing.assert_close(blur_2d(torch.full((1, 9, 50), -0.2), std), torch.full((1, 9, 50), -0.2))
    noise = torch.randn(1, 1, 5000, generator=torch.Generator().manual_seed(0))
    # The standard deviation of the result is the Euclidean norm of the kernel.
    expected = math.sqrt(sum(tap**2 for tap in weight(10, 2.0)))
    assert blur_1d(noise, torch.tensor([2.0])).std().item() == pytest.approx(expected, rel=0.05)


def test_a_wider_blur_attenuates_a_high_tone_more():
    x = torch.cos(math.pi * torch.arange(400) / 2)[None, None].expand(4, 1, -1)
    left = blur_1d(x, torch.tensor([0.3, 0.7, 1.2, 2.0])).std(dim=-1).flatten()
    assert (left.diff() < 0).all()


@pytest.mark.parametrize("blur", [blur_1d, blur_2d])
def test_autocast_does_not_change_the_blur(blur):
    x, std = torch.randn(2, 4, 50, generator=torch.Generator().manual_seed(0)), torch.tensor([0.5, 1.0])
    with torch.autocast("cpu", torch.bfloat16):
        blurred = blur(x, std)
    assert torch.equal(blurred, blur(x, std))


def test_a_16_bit_signal_is_blurred_in_float32_and_keeps_its_precision():
    x, std = (
        torch.randn(1, 1, 500, generator=torch.Generator().manual_seed(0)).bfloat16(),
        torch.tensor([2.0]),
    )
    blurred = blur_1d(x, std)
    assert blurred.dtype == torch.bfloat16
    assert torch.equal(blurred, blur_1d(x.float(), std).bfloat16())
