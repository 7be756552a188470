"""Starts on samples, what one fit leaves for the next, and when preconditioners are built."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.solvers import lbfgs, preconditioners
from fastsoftmax.solvers.lbfgs import Sketch, samples, solve
from fastsoftmax.solvers.memory import Memory
from fastsoftmax.solvers.result import Stop
from tests.conftest import problem_of


def quiet(*_):
    pass


def random_problem(rng, n=600, m=12, c=4, noise=1.0, l2=1e-3, dtype=np.float64):
    X = rng.standard_normal((n, m)).astype(dtype)
    y = (X @ rng.standard_normal((m, c)) + noise * rng.gumbel(size=(n, c))).argmax(1)
    return problem_of(as_design(X), as_targets(y, n, c, np.float64), l1=0.0, l2=l2, fit_intercept=True)


def test_samples_are_large_enough_for_the_features():
    assert samples(19_999, 100) == []
    assert samples(28_752, 512) == [7_188]
    assert samples(1_000_000, 512) == [10_000, 50_000, 250_000]
    assert samples(60_000, 3_000) == []  # 15000 rows are fewer than 8 for each


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(lbfgs, "SAMPLE", 20)
    monkeypatch.setattr(lbfgs, "EACH", 0)


def test_a_sample_leads(rng, small):
    problem = random_problem(rng, n=2000)
    null, value = problem.null()
    descent = Sketch(problem, null, preconditioners.shared(problem)).on(problem)
    optimum = solve(problem, null, Stop(1e-10), 200, quiet).theta
    best = problem.loss_gradient(optimum)[0]
    assert descent.value - best < 0.2 * (value - best)


def test_a_sample_that_misleads_is_left(rng, small):
    """Of rows no more than features, with random labels: what fits them is nothing to all others."""
    problem = random_problem(rng, n=400, m=100, noise=1e6)
    null, value = problem.null()
    descent = Sketch(problem, null, preconditioners.shared(problem)).on(problem)
    assert descent.theta is null
    assert descent.value == pytest.approx(value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_next_strength_goes_on_with_the_memory(rng, dtype):
    """Which then is that of the other penalty: no more iterations than from the same point without, to the same F."""
    problem = random_problem(rng, m=30, dtype=dtype)
    theta = solve(problem, problem.null()[0], Stop(1e-6), 200, quiet).theta
    weaker = problem.like(l2=problem.l2 / 2)
    memory, l2 = problem.own["memory"]
    assert isinstance(memory, Memory)
    assert l2 == problem.l2
    warm = solve(weaker, theta, Stop(1e-6), 200, quiet)
    assert weaker.own["memory"] == (memory, weaker.l2)
    weaker.cache.clear()
    weaker.own.clear()
    cold = solve(weaker, theta, Stop(1e-6), 200, quiet)
    assert warm.n_iter <= cold.n_iter
    values = [weaker.like(dtype=np.float64).loss_gradient(found.theta)[0] for found in (warm, cold)]
    assert_allclose(*values, atol=1e-6)


def test_folds_share_what_preconditions_and_no_memory(rng):
    problem, other = random_problem(rng), random_problem(rng)
    other.cache = problem.cache
    solve(problem, problem.null()[0], Stop(1e-8), 200, quiet)
    assert "kept" in other.cache
    assert other.own == {}


def test_builds_become_rarer(rng, monkeypatch):
    """Counted over fits: by the eighth iteration once, then after at least twice as many each time."""
    built, problem = [], random_problem(rng, n=300, m=20, l2=1e-9)
    before = preconditioners.sharper

    def counted(*arguments):
        built.append(len(at))
        return before(*arguments)

    at = []
    monkeypatch.setattr(preconditioners, "sharper", counted)
    solve(problem, problem.null()[0], Stop(1e-13), 120, lambda *_: at.append(None))
    assert len(built) > 1
    assert built[0] <= lbfgs.SOON + 1
    waits = np.diff(built)
    assert (waits >= lbfgs.OFTEN).all()
    assert (waits[1:] >= 2 * waits[:-1] - 1).all()


def test_stopping_at_once_leaves_the_point(rng):
    problem = random_problem(rng)
    theta = problem.null()[0]
    result = solve(problem, theta, Stop(1e-8), 0, quiet)
    assert result.theta is theta
    assert result.n_iter == 0
    assert "kept" not in problem.cache


def test_a_large_memory_is_not_kept(rng, monkeypatch):
    problem = random_problem(rng)
    monkeypatch.setattr(lbfgs, "KEPT", 0)
    solve(problem, problem.null()[0], Stop(1e-4), 50, quiet)
    assert "memory" not in problem.own
