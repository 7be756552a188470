"""Newton's method on the intercept alone: its curvature by finite differences, and what it does for the gap."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastsoftmax import SoftmaxRegression
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective import certificate
from fastsoftmax.solvers import intercept, lbfgs, preconditioners
from fastsoftmax.solvers.intercept import Curvature
from fastsoftmax.solvers.lbfgs import Balance, Descent, solve
from fastsoftmax.solvers.result import Stop
from tests.conftest import problem_of
from tests.objective.test_problem import LAYOUTS, make


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("c", [2, 4])
def test_curvature(rng, layout, c):
    _, _, _, problem = make(rng, layout, c=c)
    theta = 0.5 * rng.standard_normal(problem.size)
    curvature = Curvature(problem, theta)
    for direction in np.eye(problem.r)[1:] - np.eye(problem.r)[:1] if problem.gauge else np.ones((1, 1)):
        step = np.zeros(problem.size)
        problem.split(step)[1][...] = 1e-6 * direction
        change = (problem.loss_gradient(theta + step)[1] - problem.loss_gradient(theta - step)[1]) / 2e-6
        back = -problem.split(curvature.direction(problem, change))[1]
        wanted = direction - direction.mean() if problem.gauge else direction
        assert_allclose(back, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("c", [2, 4])
def test_of_very_many_classes_the_diagonal_has_to_do(rng, monkeypatch, c):
    monkeypatch.setattr(intercept, "WHOLE", 0)
    _, _, _, problem = make(rng, "dense", c=c)
    theta = 0.1 * rng.standard_normal(problem.size)
    descent = Descent(problem, theta, preconditioners.shared(problem))
    before = np.abs(problem.split(descent.gradient)[1]).max()
    assert descent.balance(Curvature(problem, theta))
    assert np.abs(problem.split(descent.gradient)[1]).max() < 0.5 * before


def test_where_the_intercept_is_right_already(rng):
    """No step, no division by its length."""
    X = rng.standard_normal((30, 3))
    y = np.repeat(np.arange(3), 20)
    design, targets = as_design(np.r_[X, -X]), as_targets(y, 60, 3, np.float64)
    problem = problem_of(design, targets, l1=0.0, l2=1e-2, fit_intercept=True)
    descent = Descent(problem, problem.null()[0], preconditioners.shared(problem))
    problem.split(descent.gradient)[1][...] = 0
    assert not descent.balance(Curvature(problem, descent.theta))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("c", [2, 4])
def test_a_step(rng, layout, c):
    """It changes the intercept alone, and leaves less than a fifth of its gradient."""
    _, _, _, problem = make(rng, layout, c=c)
    theta = 0.1 * rng.standard_normal(problem.size)
    descent = Descent(problem, theta, preconditioners.shared(problem))
    before = descent.value, np.abs(problem.split(descent.gradient)[1]).max()
    assert descent.balance(Curvature(problem, theta))
    assert_allclose(problem.split(descent.theta)[0], problem.split(theta)[0])
    value, gradient = problem.loss_gradient(descent.theta)
    assert value == descent.value < before[0]
    assert np.abs(problem.split(gradient)[1]).max() < 0.2 * before[1]
    assert len(descent.memory.slots) == 1


def problem_of_many(rng):
    """Classes of ten rows, and a point where the weights are right, the intercept nearly so."""
    n, m, c = 600, 20, 60
    X, y = rng.standard_normal((n, m)), np.arange(n) % c
    problem = problem_of(as_design(X), as_targets(y, n, c, np.float64), l1=0.0, l2=1e-2, fit_intercept=True)
    theta = solve(problem, problem.null()[0], Stop(1e-10), 200, lambda *_: None).theta
    problem.split(theta)[1][...] += 2e-4 * rng.standard_normal(c)
    return problem, theta


def test_where_the_intercept_alone_keeps_the_gap_up(rng):
    problem, theta = problem_of_many(rng)
    descent, stop = Descent(problem, theta, preconditioners.shared(problem)), Stop(1e-5)
    gap = certificate.gap(problem, theta, descent.value, descent.gradient)
    assert gap > 1e-4
    assert not stop(problem, theta, descent.value, descent.gradient)
    assert stop.unbalanced
    assert Balance()(descent, stop)
    assert certificate.gap(problem, descent.theta, *problem.loss_gradient(descent.theta)) <= 1e-5


def test_where_more_than_the_intercept_is_wrong(rng):
    problem, theta = problem_of_many(rng)
    problem.split(theta)[0][...] += 7e-3 * rng.standard_normal((problem.r, problem.m))
    descent, stop = Descent(problem, theta, preconditioners.shared(problem)), Stop(1e-3)
    assert not stop(problem, theta, descent.value, descent.gradient)
    assert (
        problem.optimality(theta, descent.gradient)
        <= 1e-3
        < certificate.least_gap(problem, descent.value, descent.gradient, 0)
    )
    assert not stop.unbalanced
    assert not Balance()(descent, stop)
    assert descent.theta is theta


def test_a_step_too_far_is_not_taken(rng):
    problem, theta = problem_of_many(rng)
    descent = Descent(problem, theta, preconditioners.shared(problem))
    value, curvature = descent.value, Curvature(problem, theta)
    curvature.factor *= 1e-2
    assert not descent.balance(curvature)
    assert descent.theta is theta
    assert descent.value == value
    assert not descent.memory.slots


def test_it_is_not_tried_at_every_iteration(rng, monkeypatch):
    problem, theta = problem_of_many(rng)
    descent, stop, balance, tried = Descent(problem, theta, preconditioners.shared(problem)), Stop(1e-5), Balance(), []
    monkeypatch.setattr(Descent, "balance", lambda *_: bool(tried.append(None)))
    for _ in range(16):
        stop(problem, theta, descent.value, descent.gradient)
        balance(descent, stop)
    assert len(tried) == 5  # at once, then after 1, 2, 4 and 8


def test_fits_end_earlier(rng, monkeypatch):
    n, m, c = 3000, 40, 100
    X = rng.standard_normal((n, m)).astype(np.float32) + 1
    y = (X @ rng.standard_normal((m, c)) + rng.gumbel(size=(n, c))).argmax(1)
    model = SoftmaxRegression(solver="lbfgs").fit(X, y)
    monkeypatch.setattr(lbfgs, "BALANCED", 0)
    without = SoftmaxRegression(solver="lbfgs").fit(X, y)
    assert model.converged_
    assert model.n_iter_[0] < 0.8 * without.n_iter_[0]
    assert model.objective_ - without.objective_ < 1e-4


def test_enough_rows_of_each_class_are_looked_at(rng, monkeypatch):
    """Where most rows are decided, few have curvature: by one row a class steps went too far."""
    n, m, c = 6_000, 60, 60
    y, centers = np.arange(n) % c, rng.standard_normal((c, m))
    X = centers[y] + 1.5 * rng.standard_normal((n, m))
    problem = problem_of(as_design(X), as_targets(y, n, c, np.float64), l1=0.0, l2=1e-4, fit_intercept=True)
    theta = solve(problem, problem.null()[0], Stop(1e-6), 200, lambda *_: None).theta
    problem.split(theta)[1][...] += 0.01 * rng.standard_normal(c)
    monkeypatch.setattr(intercept, "LOOKED_AT", 60 * c)  # rows at a time: several blocks
    descent = Descent(problem, theta, preconditioners.shared(problem))
    curvature, before = Curvature(problem, theta), np.abs(problem.split(descent.gradient)[1]).max()
    assert descent.balance(curvature)
    assert np.abs(problem.split(descent.gradient)[1]).max() < 0.3 * before
    monkeypatch.setattr(intercept, "EACH", 1)
    descent = Descent(problem, theta, preconditioners.shared(problem))
    descent.balance(Curvature(problem, theta))
    assert np.abs(problem.split(descent.gradient)[1]).max() > 0.6 * before
