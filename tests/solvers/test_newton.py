"""What Newton's method is built from, where rows are decided."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastsoftmax as fs
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective.curvature import others
from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.solvers import newton
from tests.conftest import problem_of


@pytest.mark.parametrize("c", [2, 3, 10])
def test_what_other_classes_have_of_decided_rows(rng, c):
    """1 - p would be 0 from logits of 37 on."""
    Z = rng.standard_normal((300, c)).astype(np.longdouble) * 30
    P = np.exp(Z - Z.max(1, keepdims=True))
    P /= P.sum(1, keepdims=True)
    wanted = np.stack([np.delete(P, k, 1).sum(1) for k in range(c)])
    assert (wanted < 1e-17).any()
    np.testing.assert_allclose(others(P.astype(np.float64)), wanted.astype(np.float64), rtol=1e-14)


@pytest.mark.parametrize("c", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_hessian_is_that_of_products(rng, c, fit_intercept):
    X, y = rng.standard_normal((50, 3)), rng.integers(0, c, 50)
    targets = as_targets(y, 50, c, np.float64)
    problem = problem_of(as_design(X), targets, l1=0.0, l2=0.1, fit_intercept=fit_intercept, binary=c == 2)
    point = Hessian(problem, rng.standard_normal(problem.size))
    H = point.whole()
    for _ in range(5):
        direction = problem.centered(rng.standard_normal(problem.size))  # others see what holds the classes together
        wanted = problem.by_class(point.product(direction)).reshape(-1)
        np.testing.assert_allclose(H @ problem.by_class(direction).reshape(-1), wanted, atol=1e-12)


def test_decided_rows_keep_their_curvature(rng):
    """A scaled Hessian is positive semidefinite, however little the rows of a column are in doubt."""
    X = np.c_[rng.standard_normal(60), np.where(np.arange(60) < 20, 50.0, 0.0)]
    y = np.where(np.arange(60) < 20, 2, rng.integers(0, 3, 60))
    problem = problem_of(
        as_design(X), as_targets(y, 60, 3, np.float64), l1=0.0, l2=0.0, fit_intercept=False, binary=False
    )
    theta = np.zeros(problem.size)
    problem.split(theta)[0][:, 1] = np.array([-1.0, -1.0, 2.0]) * 0.3 / problem.unit[1]
    H = Hessian(problem, theta).whole()
    scale = 1 / np.sqrt(np.diagonal(H))
    assert 0 < np.diagonal(H).min() < 1e-17
    assert np.linalg.eigvalsh(H * scale * scale[:, None]).min() > -1e-13


def test_a_long_step_far_from_the_optimum_costs_no_trust(monkeypatch):
    """iris takes one of 2.5 directions; products with the Hessian are not needed after it."""
    monkeypatch.setattr(newton, "newton_direction", lambda *_: pytest.fail("the direction is Newton's as it is"))
    model = fs.SoftmaxRegression(tol=1e-8).fit(*load_iris(return_X_y=True))
    assert model.solver_ == "newton"
    assert model.optimality_ <= 1e-8


@pytest.mark.parametrize(("t", "trusted"), [(1.0, True), (newton.FAR_TOO_SHORT, True), (100.0, False)])
def test_directions_far_too_short_are_not_trusted_again(t, trusted):
    whole = newton.Whole()
    for step in (t, 1.0):
        whole.learn(step)
        assert whole.trusted == trusted
