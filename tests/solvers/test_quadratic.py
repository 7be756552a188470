"""Quadratics with an l1 penalty, against a search of all signs; coordinate descent against its own conditions."""

import itertools

import numpy as np
import pytest

from fastsoftmax.kernels.coordinate import descend
from fastsoftmax.solvers.quadratic import minimise_quadratic, violation


def value(H, b, penalty, u):
    return 0.5 * u @ H @ u - b @ u + penalty @ np.abs(u)


def least(H, b, penalty):
    """By every pattern of signs: the minimum with these, where it has them."""
    p, best = len(b), 0.0
    for signs in itertools.product((-1, 0, 1), repeat=p):
        s = np.array(signs, float)
        free = np.flatnonzero(s)
        u = np.zeros(p)
        u[free] = np.linalg.lstsq(H[np.ix_(free, free)], b[free] - penalty[free] * s[free], rcond=1e-12)[0]
        best = min(best, value(H, b, penalty, u))
    return best


def random_quadratic(rng, p, rank, scales=0.0):
    A = rng.standard_normal((rank, p)) * 10.0 ** rng.uniform(-scales, scales, p)
    return A.T @ A, A.T @ rng.standard_normal(rank)


@pytest.mark.parametrize("rank", [2, 5, 12])
@pytest.mark.parametrize("scales", [0.0, 3.0])
@pytest.mark.parametrize("strength", [0.0, 0.1, 1.0, 100.0])
def test_the_minimum_of_all_signs(rng, rank, scales, strength):
    """Also where H is singular, and some entries are not penalised."""
    for _ in range(5):
        H, b = random_quadratic(rng, 5, rank, scales)
        penalty = strength * np.sqrt(np.diag(H)) * (rng.random(5) < 0.8)
        start = rng.standard_normal(5)
        u = minimise_quadratic(H, H @ start - b, penalty, start, 1e-9)
        wanted = least(H, b, penalty)
        assert value(H, b, penalty, u) <= wanted + 1e-9 * (1 + abs(wanted))
        assert violation(H, H @ u - b, penalty, u) <= 1e-6
    if strength == 100.0:
        np.testing.assert_array_equal(u[penalty > 0], 0)


def test_violation_is_0_at_the_optimum_alone(rng):
    H, penalty = np.diag([1.0, 4.0, 9.0]), np.array([0.5, 0.5, 0.0])
    b = np.array([0.4, 2.5, 9.0])
    u = np.array([0.0, 0.5, 1.0])
    assert violation(H, H @ u - b, penalty, u) == 0
    np.testing.assert_allclose(
        violation(H, H @ (u + np.array([0, 0.1, 0])) - b, penalty, u + np.array([0, 0.1, 0])), 0.4 / 2
    )
    np.testing.assert_allclose(violation(H, H @ u - b - np.array([0.3, 0, 0]), penalty, u), 0.2)


def test_nearly_collinear_columns(rng):
    """Where coordinates alone would take a million sweeps."""
    x = rng.standard_normal(50)
    A = np.stack([x, x + 1e-6 * rng.standard_normal(50), rng.standard_normal(50)], 1)
    H, b = A.T @ A, A.T @ rng.standard_normal(50)
    for penalty in (np.full(3, 1e-9), np.full(3, 0.1)):
        u = minimise_quadratic(H, -b, penalty, np.zeros(3), 1e-10)
        assert value(H, b, penalty, u) <= least(H, b, penalty) + 1e-9


def test_a_start_that_is_the_minimum_stays(rng):
    H, b = random_quadratic(rng, 4, 8)
    u = np.linalg.solve(H, b)
    slope, none = H @ u - b, np.zeros(4)
    found = minimise_quadratic(H, slope, none, u, 1e-12)
    assert violation(H, H @ found - b, none, found) <= violation(H, slope, none, u)


def test_sweeps_lower_and_keep_the_slope(rng):
    H, b = random_quadratic(rng, 6, 9)
    penalty, u = np.full(6, 0.3), rng.standard_normal(6)
    slope, before = H @ u - b, np.inf
    for _ in range(30):
        moved = descend(H, penalty, 1, u, slope)
        np.testing.assert_allclose(slope, H @ u - b, atol=1e-10)
        now = value(H, b, penalty, u)
        assert now <= before + 1e-12
        assert 0 <= moved <= 6
        before = now
    many = np.zeros(6)
    descend(H, penalty, 10_000, many, -b)
    np.testing.assert_allclose(value(H, b, penalty, many), least(H, b, penalty), rtol=1e-10)


def test_an_entry_without_curvature_is_left(rng):
    H, u = np.diag([2.0, 0.0]), np.array([0.0, 3.0])
    assert descend(H, np.zeros(2), 5, u, H @ u - np.array([2.0, 5.0])) == 0
    np.testing.assert_array_equal(u, [1.0, 3.0])
