"""The interior-point method for quadratics with an l1 penalty, against a search of all signs and the conditions."""

import numpy as np
import pytest

from fastsoftmax.solvers.interior import central_minimum
from fastsoftmax.solvers.quadratic import violation
from tests.solvers.test_quadratic import least, random_quadratic, value


@pytest.mark.parametrize("rank", [2, 5, 12])
@pytest.mark.parametrize("scales", [0.0, 3.0])
@pytest.mark.parametrize("strength", [1e-12, 0.1, 1.0, 100.0])
def test_the_minimum_of_all_signs(rng, rank, scales, strength):
    for _ in range(5):
        H, b = random_quadratic(rng, 5, rank, scales)
        penalty = strength * np.sqrt(np.diag(H)) * (rng.random(5) < 0.8)
        u = central_minimum(H, -b, penalty)
        wanted = least(H, b, penalty)
        assert value(H, b, penalty, u) <= wanted + 1e-7 * (1 + abs(wanted))
    if strength == 100.0:
        np.testing.assert_array_equal(u[penalty > 0], 0)


@pytest.mark.parametrize("apart", [1e-3, 1e-6, 1e-8])
def test_many_nearly_collinear_columns(rng, apart):
    """200 columns of rank 20, but for a little: coordinate descent needs more sweeps than it ever gets."""
    A = rng.standard_normal((60, 20)) @ rng.standard_normal((20, 200)) + apart * rng.standard_normal((60, 200))
    A *= 10.0 ** rng.uniform(-3, 3, 200)
    H, b = A.T @ A, A.T @ (A @ (rng.standard_normal(200) * (rng.random(200) < 0.1)) + rng.standard_normal(60))
    penalty = 1e-3 * np.sqrt(np.diag(H))
    u = central_minimum(H, -b, penalty)
    assert violation(H, H @ u - b, penalty, u) <= 1e-5
    assert 0 < np.count_nonzero(u) < 120


def test_penalties_from_nothing_to_all(rng):
    """Of 1e-15 to 1e3 in one problem, as columns of all scales have them."""
    A = rng.standard_normal((100, 60))
    H, b, penalty = A.T @ A / 100, A.T @ rng.standard_normal(100) / 100, 10.0 ** rng.uniform(-15, 3, 60)
    u = central_minimum(H, -b, penalty)
    assert violation(H, H @ u - b, penalty, u) <= 1e-9
    assert not u[penalty > 10].any()
    assert u[penalty < 1e-6].all()


def test_nothing_to_do_is_0():
    np.testing.assert_array_equal(central_minimum(np.eye(3), np.zeros(3), np.ones(3)), 0)
    np.testing.assert_array_equal(central_minimum(np.zeros((2, 2)), np.zeros(2), np.ones(2)), 0)
