"""Directions within a region, and lengths of steps, on quadratics that stand for a problem."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fastsoftmax.solvers.conjugate import newton_direction
from fastsoftmax.solvers.line_search import rounding, search


class Quadratic:
    """What directions need of a Hessian: products with it."""

    def __init__(self, H):
        self.H = H

    def product(self, direction):
        return self.H @ direction


def positive(rng, p, spread=2.0):
    Q = np.linalg.qr(rng.standard_normal((p, p)))[0]
    return (Q * 10.0 ** np.linspace(0, spread, p)) @ Q.T


@pytest.mark.parametrize("preconditioned", [False, True])
def test_inside_it_is_the_exact_solution(rng, preconditioned):
    H, g = positive(rng, 12), 1e-12 * rng.standard_normal(12)  # near the optimum, so exactly
    M = np.diag(1 / np.diag(H)) if preconditioned else np.eye(12)
    wanted = np.linalg.solve(H, g)
    length = np.sqrt(wanted @ np.linalg.solve(M, wanted))
    for radius in (np.inf, 2 * length):
        found = newton_direction(Quadratic(H), g, lambda v: M @ v, 100, radius)
        assert not found.cut
        np.testing.assert_allclose(found.step, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())
        np.testing.assert_allclose(found.length, length, rtol=1e-3)


@pytest.mark.parametrize("preconditioned", [False, True])
@pytest.mark.parametrize("share", [0.5, 0.3, 1e-3])
def test_at_the_border_the_length_is_the_radius(rng, preconditioned, share):
    """In the norm of the preconditioner; and the quadratic falls at least as far as along the first direction."""
    H, g = positive(rng, 12), rng.standard_normal(12)
    M = np.diag(1 / np.diag(H)) if preconditioned else np.eye(12)
    wanted = np.linalg.solve(H, g)
    radius = share * np.sqrt(wanted @ np.linalg.solve(M, wanted))
    found = newton_direction(Quadratic(H), g, lambda v: M @ v, 100, radius)
    assert found.cut
    norm = np.sqrt(found.step @ np.linalg.solve(M, found.step))
    np.testing.assert_allclose([found.length, norm], radius, rtol=1e-9)

    def model(v):
        return 0.5 * v @ H @ v - g @ v

    first = M @ g
    longest = radius / np.sqrt(first @ np.linalg.solve(M, first))
    cauchy = minimize_scalar(lambda t: model(t * first), bounds=(0, longest), method="bounded").fun
    assert model(found.step) <= cauchy + 1e-6 * abs(cauchy)


def test_no_curvature(rng):
    """Without a region the first direction, and in one as far as its border."""
    g = rng.standard_normal(5)
    free = newton_direction(Quadratic(np.zeros((5, 5))), g, np.copy, 50)
    np.testing.assert_array_equal(free.step, g)
    assert not free.cut
    bound = newton_direction(Quadratic(np.zeros((5, 5))), g, np.copy, 50, 2.0)
    assert bound.cut
    np.testing.assert_allclose(np.linalg.norm(bound.step), 2.0)


class Curve:
    """What a search needs of a problem: F and its gradient, of one parameter."""

    def __init__(self, value, slope):
        self.value, self.slope, self.dtype = value, slope, np.dtype(np.float64)
        self.calls = 0

    def logit_size(self, theta):
        return abs(theta[0])

    def loss_gradient(self, theta):
        self.calls += 1
        with np.errstate(all="ignore"):
            return float(self.value(theta[0])), np.array([self.slope(theta[0])])


@pytest.mark.parametrize("factor", [1e-8, 1e-3, 0.9, 1.0, 30.0, 1e4, 1e8])
def test_a_step_lowers_enough(factor):
    """Of directions far too short or long, too: Armijo's condition, and no needless crawl."""
    curve = Curve(lambda x: (x - 1) ** 2, lambda x: 2 * (x - 1))
    t, value, gradient = search(curve, np.zeros(1), 1.0, np.array([factor]), -2.0 * factor)
    assert value == (t * factor - 1) ** 2 <= 1 - 1e-4 * t * 2 * factor
    assert gradient[0] == 2 * (t * factor - 1)
    assert curve.calls < 25
    if factor <= 1:
        assert value < 1 - 0.3 * min(1.0, 1e3 * factor)


def test_no_step_lowers():
    uphill = Curve(lambda x: 1 + abs(x), np.sign)
    assert search(uphill, np.zeros(1), 1.0, np.ones(1), -1.0) is None
    broken = Curve(lambda x: np.nan, lambda x: np.nan)
    assert search(broken, np.zeros(1), 1.0, np.ones(1), -1.0) is None


def test_where_f_overflows_shorter_steps_are_tried():
    curve = Curve(lambda x: np.exp(x * x) - 2 * x, lambda x: 2 * x * np.exp(x * x) - 2)
    t, value, _ = search(curve, np.zeros(1), 1.0, np.array([1e3]), -2e3)
    assert 0 < t < 1e-2
    assert value < 1


def test_where_rounding_hides_f_the_slope_decides():
    """F is the same in all digits; a step that turns the slope is refused, one that makes it small is taken."""
    curve = Curve(lambda x: 1.0, lambda x: 1e-9 * (x - 1))
    assert rounding(curve, 1.0) == 2e-14
    t, _, gradient = search(curve, np.zeros(1), 1.0, np.ones(1), -1e-9)
    assert t == 1
    assert gradient[0] == 0
