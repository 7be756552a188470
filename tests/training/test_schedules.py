"""Schedules against their formulas and PyTorch's numbers."""

import math

import numpy as np
import pytest

from fastsoftmax.defaults import SCHEDULES as NAMES
from fastsoftmax.training.schedules import SCHEDULES, cos_pi, learning_rates


def test_cos_pi():
    u = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(cos_pi(u), [math.cos(math.pi * v) for v in u], atol=4e-16)


def test_names():
    """The command line's choices are the registry."""
    assert tuple(SCHEDULES) == NAMES


def test_constant():
    assert learning_rates("constant", 0.3, 2, 5, 100, 10).tolist() == [0.3] * 3


def test_inverse_scaling():
    np.testing.assert_allclose(learning_rates("inverse_scaling", 0.5, 0, 30, 100, 10)[[0, 10]], [0.5, 0.5 / 2**0.5])


def test_cosine():
    rates = learning_rates("cosine", 0.2, 0, 50, 50, 10)
    np.testing.assert_allclose(rates, [0.1 * (1 + math.cos(math.pi * t / 50)) for t in range(50)], atol=1e-16)


def test_one_cycle():
    """As torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10): its first, highest and last rates."""
    rates = learning_rates("one_cycle", 1.0, 0, 10, 10, 5)
    assert rates[0] == pytest.approx(1 / 25, rel=1e-12)
    assert rates.argmax() == 2
    assert rates[2] == pytest.approx(1.0, rel=1e-12)
    assert rates[-1] == pytest.approx(1 / 25 / 1e4, rel=1e-6)
    down = [4e-6 + (1 - 4e-6) * 0.5 * (1 + math.cos(math.pi * k / 7)) for k in range(8)]
    np.testing.assert_allclose(rates[2:], down, rtol=1e-10)


def test_pieces_are_the_whole():
    for name in SCHEDULES:
        whole = learning_rates(name, 0.1, 0, 40, 40, 8)
        parts = [learning_rates(name, 0.1, t, t + 8, 40, 8) for t in range(0, 40, 8)]
        np.testing.assert_array_equal(whole, np.concatenate(parts))


def test_a_function():
    assert learning_rates(lambda t, steps: t / steps, 2.0, 1, 4, 4, 2).tolist() == [0.5, 1.0, 1.5]
