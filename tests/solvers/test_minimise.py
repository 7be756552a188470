"""Solvers in turn: who goes on, from where, and what is said; the two ways of l1; null, and far columns."""

import numpy as np
import pytest
import scipy.sparse

from fastsoftmax import SoftmaxRegression
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective import certificate
from fastsoftmax.objective.centering import centered
from fastsoftmax.objective.columns import Columns
from fastsoftmax.solvers import SOLVERS, minimise, proximal, proximal_newton
from fastsoftmax.solvers.result import Result, Stop
from tests import exact, reference
from tests.conftest import objective_of, problem_of


def quiet(*_):
    pass


def make(rng, c=3, l1=0.0, l2=0.01, n=120, m=5, fit_intercept=True, smoothing=0.0, weight=None, layout=np.asarray):
    X = rng.standard_normal((n, m))
    y = (X @ rng.standard_normal((m, c)) + rng.gumbel(size=(n, c))).argmax(1)
    y[:c] = np.arange(c)
    targets = as_targets(y, n, c, np.float64, label_smoothing=smoothing, sample_weight=weight)
    options = {"l1": l1, "l2": l2, "fit_intercept": fit_intercept, "binary": c == 2}
    return X, y, problem_of(as_design(layout(X)), targets, **options)


def lazy(problem, theta, stop, max_iter, report):
    """A method that makes no progress."""
    return Result(theta, 3, stalled=True)


def test_where_one_stalls_its_successor_goes_on(rng, monkeypatch, caplog):
    _, _, problem = make(rng)
    monkeypatch.setitem(SOLVERS, "lbfgs", SOLVERS["lbfgs"]._replace(solve=lazy))
    with caplog.at_level("INFO", "fastsoftmax"):
        found = minimise(problem, [], "lbfgs", 1e-8, 100, np.float64, quiet)
    assert found.converged
    assert found.solver == "lbfgs, newton"
    assert found.why == ""
    assert found.n_iter > 3
    assert "newton goes on" in caplog.text
    alone = minimise(problem, [], "newton", 1e-8, 100, np.float64, quiet)
    assert alone.solver == "newton"
    np.testing.assert_allclose(found.coef, alone.coef, atol=1e-6)


def test_why_it_did_not_converge(rng, monkeypatch):
    _, _, problem = make(rng)
    for most in (0, 1, 2):
        cut = minimise(problem, [], "lbfgs", 1e-12, most, np.float64, quiet)
        assert (cut.converged, cut.why, cut.n_iter) == (False, "iterations", most)
    start = minimise(problem, [], "lbfgs", 1e-2, 100, np.float64, quiet).theta
    for name in ("lbfgs", "newton"):
        monkeypatch.setitem(SOLVERS, name, SOLVERS[name]._replace(solve=lazy))
    stuck = minimise(problem, [start], "lbfgs", 1e-8, 100, np.float64, quiet)
    assert (stuck.converged, stuck.why, stuck.n_iter) == (False, "rounding", 6)
    assert stuck.solver == "lbfgs, newton"


def test_who_stalls_at_0_keeps_the_penalty(rng, monkeypatch):
    """There the penalty is 0, and not because rounding loses it."""
    _, _, problem = make(rng, l2=1.0)
    newton = SOLVERS["newton"].solve

    def stalls_with_a_penalty(problem, *rest):
        return lazy(problem, *rest) if problem.l2 else newton(problem, *rest)

    monkeypatch.setitem(SOLVERS, "newton", SOLVERS["newton"]._replace(solve=stalls_with_a_penalty))
    found = minimise(problem, [], "newton", 1e-8, 100, np.float64, quiet)
    assert not found.converged
    value = problem.loss_gradient(found.theta)[0]
    assert value <= problem.null()[1] + 1e-12
    np.testing.assert_allclose(found.value, value, rtol=1e-12)


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("l1", [0.0, 0.01])
def test_a_start_worse_than_null_is_left(rng, c, l1):
    _, _, problem = make(rng, c, l1)
    null, value = problem.null()
    theta = 50.0 * rng.standard_normal(problem.size)
    assert problem.loss_gradient(theta)[0] > value
    name = "proximal" if l1 else "lbfgs"
    cut = minimise(problem, [theta], name, 1e-8, 0, np.float64, quiet)
    assert cut.value <= value + 1e-12
    nowhere = minimise(problem, [np.full(problem.size, np.nan)], name, 1e-8, 0, np.float64, quiet)
    np.testing.assert_allclose(nowhere.theta, null, atol=1e-12)


def test_a_solver_that_climbs_changes_nothing(rng, monkeypatch):
    _, _, problem = make(rng)

    def climbs(problem, theta, stop, max_iter, report):
        return Result(theta + 10 * rng.standard_normal(problem.size), 1, stalled=True)

    monkeypatch.setitem(SOLVERS, "newton", SOLVERS["newton"]._replace(solve=climbs))
    start = minimise(problem, [], "lbfgs", 1e-2, 100, np.float64, quiet).theta
    found = minimise(problem, [start], "newton", 1e-12, 100, np.float64, quiet)
    assert not found.converged
    np.testing.assert_allclose(found.theta, problem.centered(start), atol=1e-12)


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_null_is_the_best_intercept(rng, c, fit_intercept, smoothing):
    weight = rng.random(120)
    _, y, problem = make(rng, c, fit_intercept=fit_intercept, smoothing=smoothing, weight=weight)
    theta, value = problem.null()
    coef, intercept = problem.split(theta)
    assert not coef.any()
    found, gradient = problem.loss_gradient(theta)
    np.testing.assert_allclose(found, value, rtol=1e-12)
    np.testing.assert_allclose(problem.split(gradient)[1], 0, atol=1e-12)
    Y = reference.targets(y, c, smoothing)
    np.testing.assert_allclose(value, exact.null(Y, fit_intercept, weight), rtol=1e-12)
    assert len(intercept) == problem.r * fit_intercept


@pytest.mark.parametrize("c", [2, 3])  # of an even number the medians, which l1 makes 0, may be many
@pytest.mark.parametrize("l2", [0.0, 0.02])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
def test_both_ways_of_l1_agree(rng, monkeypatch, c, l2, fit_intercept, layout):
    """Newton's method on quadratics with the penalty, and accelerated gradients with conjugate gradients."""
    _, _, problem = make(rng, c, 0.02, l2, m=8, fit_intercept=fit_intercept, layout=layout)
    assert proximal_newton.suits(problem)
    stop, start = Stop(1e-9), problem.null()[0]
    second = proximal_newton.solve(problem, start, stop, 100, quiet).theta
    monkeypatch.setattr(proximal_newton, "suits", lambda problem: False)
    first = proximal.solve(problem, start, stop, 5000, quiet).theta
    for theta in (first, second):
        value, gradient = problem.loss_gradient(theta)
        assert problem.optimality(theta, gradient) <= 1e-9
        assert certificate.gap(problem, theta, value, gradient) <= 1e-9
    coefs = [problem.split(problem.centered(theta))[0] for theta in (first, second)]
    np.testing.assert_allclose(*coefs, atol=1e-6)
    np.testing.assert_array_equal(coefs[0] == 0, coefs[1] == 0)
    assert (coefs[0] == 0).any()


def test_which_columns_are_far():
    mean = np.array([0.0, 1.0, 9.0, 11.0, 1e6, 3.0])
    deviation = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    for unit in (np.ones(6), np.array([4.0, 0.5, 2.0, 1.0, 2.0**-20, 1.0])):
        columns = Columns(unit, mean, (mean**2 + deviation**2) * unit**2)
        np.testing.assert_array_equal(columns.far(10.0), [False, True, False, True, True, False])
        other = columns.in_units(unit * 8)
        np.testing.assert_array_equal(other.far(10.0), columns.far(10.0))
        np.testing.assert_allclose(other.square, columns.square * 64)


@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
def test_what_is_far_is_centred_and_the_rest_is_left(rng, layout):
    X = np.c_[rng.standard_normal((50, 2)), rng.standard_normal(50) + 1e4, np.full(50, 7.0)]
    targets = as_targets(np.arange(50) % 2, 50, 2, np.float64)
    found = centered(objective_of(layout(X), targets))
    np.testing.assert_allclose(found.shift[:2], 0)
    np.testing.assert_allclose(found.shift[2], X[:, 2].mean(), rtol=1e-12)
    np.testing.assert_array_equal(found.scale, [1, 1, 1, 0])


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_the_optimality_is_that_of_raw_features(rng, c, layout, C):
    """Columns far from 0 are centred for digits; gradients and coefficients are in the units of X."""
    n = 150
    X = rng.standard_normal((n, 3)) + np.array([0, 500.0, 4000.0])
    y = (X[:, :, None] * rng.standard_normal((3, c)) + rng.gumbel(size=(n, 1, c))).sum(1)
    y = (y - y.mean(0)).argmax(1)
    y[:c] = np.arange(c)
    model = SoftmaxRegression(C=C, tol=1e-6).fit(layout(X), y)
    assert model.converged_
    l2 = 1 / (C * n) if np.isfinite(C) else 0.0
    P = reference.softmax(exact.logits(X, model.coef_, model.intercept_))
    R = (P - np.eye(c)[y])[:, -len(model.coef_) :] / n
    wanted = max(np.abs(R.T @ X + l2 * model.coef_).max(), np.abs(R.sum(0)).max())
    assert wanted <= 1.01e-6
    np.testing.assert_allclose(model.optimality_, wanted, rtol=0.05, atol=1e-9)
    np.testing.assert_allclose(model.objective_, exact.objective(X, np.eye(c)[y], model.coef_, model.intercept_, l2), rtol=1e-8)  # fmt: skip  # noqa: E501


def test_a_class_without_weight_and_far_columns(rng):
    """The gradient that is reported is that of the features as they are in X, also where a class is left out."""
    X, y = rng.standard_normal((300, 3)) + 1e5, rng.integers(0, 3, 300)
    weight = np.where(y == 2, 0.0, 1.0)
    model = SoftmaxRegression().fit(X, y, weight)
    Z = X @ model.coef_.T + model.intercept_
    P = np.exp(Z - Z.max(1, keepdims=True))
    R = (P / P.sum(1, keepdims=True) - np.eye(3)[y]) * (weight / weight.sum())[:, None]
    gradient = R.T @ X + model.coef_ / weight.sum()
    np.testing.assert_allclose(model.optimality_, max(np.abs(gradient).max(), np.abs(R.sum(0)).max()), rtol=1e-3)


@pytest.mark.parametrize("offset", [1e3, 1e5])
def test_far_columns_do_not_make_data_separable(offset):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((200, 3)) + offset
        y = ((X - offset) @ rng.standard_normal((3, 3)) + rng.gumbel(size=(200, 3))).argmax(1)
        assert not SoftmaxRegression(C=np.inf).fit(X, y).separable_
