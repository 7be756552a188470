"""What Newton's step proves that F* is at least: never more than it is, and all of it near the optimum."""

import warnings

import numpy as np
import pytest
import scipy.optimize
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning

from fastsoftmax import SoftmaxRegression
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective import certificate
from fastsoftmax.objective.centering import centered
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import minimise, proof
from fastsoftmax.solvers.sampling import usual_sizes
from tests import exact, reference
from tests.conftest import objective_of, problem_of

PENALTIES = {"none": (0.0, 0.0), "l2": (0.0, 0.02), "l1": (0.02, 0.0), "elastic net": (0.01, 0.02)}


def make(rng, c, penalty, fit_intercept=True, weighted=False, layout=np.asarray, n=80, m=4, scale=1.0):
    X = rng.standard_normal((n, m)) * scale
    y = ((X / scale) @ rng.standard_normal((m, c)) + 2 * rng.gumbel(size=(n, c))).argmax(1)
    y[:c] = np.arange(c)
    weight = np.where(rng.random(n) < 0.8, rng.exponential(size=n), 0) if weighted else None
    l1, l2 = PENALTIES[penalty]
    targets = as_targets(y, n, c, np.float64, sample_weight=weight, label_smoothing=0.1 * weighted)
    return problem_of(as_design(layout(X)), targets, l1=l1, l2=l2, fit_intercept=fit_intercept, binary=c == 2)


def least(problem, tol=1e-12):
    """A point within rounding of the optimum, and F there."""
    name = "proximal" if problem.l1 else "newton"
    found = minimise(problem, [], name, tol, 200, np.float64, lambda *_: None)
    return found.theta, found.value


@pytest.mark.parametrize("c", [2, 4])
@pytest.mark.parametrize("penalty", list(PENALTIES))
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
def test_never_above_the_optimum_and_there_all_of_it(rng, c, penalty, fit_intercept, weighted, layout):
    problem = make(rng, c, penalty, fit_intercept, weighted, layout)
    theta, value = least(problem)
    flat = penalty == "l1" and c == 4  # a column of four entries moves for nothing: eps times FARTHEST is left
    assert value - (1e-7 if flat else 1e-11) <= proof.prove(problem, theta).bound <= value + 1e-12
    proved, entropy = 0, problem.data.entropy()
    for size in 10.0 ** rng.uniform(-6, 1, 20):
        moved = theta + size * rng.standard_normal(problem.size) * (theta != 0)
        bound = proof.prove(problem, moved).bound
        assert bound <= value + 1e-12
        proved += bound > entropy + 1e-3
        if size < 1e-3 and (np.sign(moved) == np.sign(theta)).all():  # the gap is of third order
            assert bound >= value - 1e-7
    assert proved >= 5


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("penalty", list(PENALTIES))
def test_against_what_gradients_over_penalties_prove(rng, c, penalty):
    problem = make(rng, c, penalty)
    theta, value = least(problem, 1e-3)
    smooth, gradient = problem.loss_gradient(theta)
    other = certificate.bound(problem, theta, smooth, gradient) if problem.l1 or problem.l2 else -np.inf
    assert other - 1e-12 <= proof.prove(problem, theta).bound <= least(problem)[1] + 1e-12
    assert value >= other


def test_nothing_is_proved_of_separable_data(rng):
    """Steps of Newton's method there change logits by 1 each."""
    X = np.r_[rng.standard_normal((20, 2)) - 4, rng.standard_normal((20, 2)) + 4]
    y = np.repeat([0, 1], 20)
    problem = problem_of(as_design(X), as_targets(y, 40, 2, np.float64), l1=0, l2=0, fit_intercept=True, binary=True)
    theta = np.array([1.0, 1.0, 0.0])
    for times in (1.0, 3.0, 10.0, 30.0):
        value = problem.loss_gradient(times * theta)[0]
        assert proof.prove(problem, times * theta).bound <= value + 1e-12
        assert proof.prove(problem, times * theta).bound <= 1e-12


def test_a_hessian_too_large_proves_nothing(rng, monkeypatch):
    problem = make(rng, 3, "l2")
    theta, _ = least(problem)
    monkeypatch.setattr(proof, "affordable", lambda problem: False)
    assert proof.prove(problem, theta) == (0, np.inf)


def least_value(X, Y, l2):
    """F* with a penalty of l2 (m,) by SciPy."""
    (n, m), c = X.shape, Y.shape[1]

    def value_gradient(flat):
        W = flat.reshape(c, m + 1)
        R = reference.softmax(exact.logits(X, W[:, :m], W[:, m])) - Y
        gradient = R.T @ np.c_[X, np.ones(n)] / n
        gradient[:, :m] += l2 * W[:, :m]
        return exact.objective(X, Y, W[:, :m], W[:, m], l2), gradient.ravel()

    start, options = np.zeros(c * (m + 1)), {"gtol": 1e-10, "ftol": 0, "maxiter": 5000}
    return scipy.optimize.minimize(value_gradient, start, jac=True, method="L-BFGS-B", options=options).fun


@pytest.mark.parametrize("penalty", list(PENALTIES))
@pytest.mark.parametrize("scale", [1e-150, 1e-60, 1e60, 1e150])
@pytest.mark.parametrize("c", [2, 3])
def test_columns_of_any_size_have_a_proof(rng, penalty, scale, c):
    """In the gap that gradients over penalties give, there is 1e134 squared over 1e-300."""
    sizes = np.array([1.0, scale, 1.0, scale])
    X = rng.standard_normal((100, 4))
    y = (X @ rng.standard_normal((4, c)) + 2 * rng.gumbel(size=(100, c))).argmax(1)
    C, l1_ratio = {"none": (np.inf, 0.0), "l2": (1.0, 0.0), "l1": (1.0, 1.0), "elastic net": (1.0, 0.5)}[penalty]
    model = SoftmaxRegression(C=C, l1_ratio=l1_ratio).fit(X * sizes, y)
    assert model.converged_
    assert penalty == "none" or model.duality_gap_ <= 1e-4
    if not l1_ratio and (scale > 1 or penalty == "none"):
        l2 = (2 if c == 2 else 1) / C / 100 / sizes**2  # of two rows that are each other's negative
        wanted = least_value(X, np.eye(c)[y], l2)
        assert wanted - 1e-9 <= model.objective_ <= wanted + 1e-4


@pytest.mark.parametrize("cells", [(-2e22, 2e13), (1e10, 4e3), (1e60, -1e40), (5e8, 1e8)])
@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("c", [2, 3])
def test_two_huge_cells_of_a_column_hide_nothing(rng, cells, standardize, c):
    """Once the larger one is decided, the other has no more to say in the gradient than rounding has."""
    X = rng.standard_normal((100, 2))
    y = (X @ rng.standard_normal((2, c)) + rng.gumbel(size=(100, c))).argmax(1)
    X[[3, 5], 0] = cells
    for labels in (y, np.where(np.arange(100) == 5, (y + 1) % c, y)):
        fits = []
        for solver in ("newton", "lbfgs"):
            with warnings.catch_warnings(action="ignore"):
                fits.append(SoftmaxRegression(C=np.inf, solver=solver, standardize=standardize).fit(X, labels))
        least = min(model.objective_ for model in fits)
        assert all(model.objective_ <= least + 2e-4 for model in fits if model.converged_)


@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
def test_how_large_features_usually_are(rng, layout):
    """Told by neither the mean nor the size of the column, which may be those of one cell."""
    X = np.zeros((200, 5))
    X[:, 0], X[:, 1] = rng.standard_normal(200), 1e6 + rng.standard_normal(200)
    X[:3, 2] = 7.0
    X[:, 3] = rng.standard_normal(200)
    X[0, 3] = 1e22
    targets = as_targets(np.arange(200) % 2, 200, 2, np.float64)
    objective = centered(objective_of(layout(X), targets))
    problem = Problem(objective, l1=0, l2=0, fit_intercept=True, binary=True)
    raw = usual_sizes(problem) / (problem.unit * np.where(objective.scale == 0, 1, np.abs(objective.scale)))
    quarter = np.quantile(np.abs(rng.standard_normal(10_000)), 0.25)
    np.testing.assert_allclose(raw[[0, 1, 3]], quarter, rtol=0.35)
    assert raw[2] == 7.0
    assert raw[4] == np.inf


@pytest.mark.parametrize("c", [2, 3])
def test_what_rounding_hides_keeps_its_penalty(rng, c):
    """Of a row that is decided by 3e7 the Hessian has nothing, and its weight is penalised all the same."""
    X, y = rng.standard_normal((10_000, 3)), rng.integers(0, c, 10_000)
    X[0, 0] = 3e7
    targets = as_targets(y, len(X), c, np.float64)
    problem = problem_of(as_design(X), targets, l1=0.0, l2=0.05, fit_intercept=True, binary=c == 2)
    theta, value = least(problem)
    assert proof.prove(problem, theta).bound <= value + 1e-9


def unlike(rng, c, kind):
    """A column whose usual size is 1, and one of whose cells has 1e20."""
    n = 300 if kind == "constant" else 100
    X = np.c_[np.zeros(n), rng.standard_normal((n, 2))]
    y = (np.c_[np.zeros(n), 2 + X[:, 1:c]] + rng.gumbel(size=(n, c))).argmax(1)
    if kind == "constant":
        X[:, 0] = 1
    X[[3, 5], 0] = 1e20, 1
    y[[3, 5]] = 1
    return X, y


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("kind", ["constant", "rare"])
@pytest.mark.parametrize("C", [np.inf, 1e10])
@pytest.mark.parametrize("layout", [np.asarray, scipy.sparse.csr_array])
def test_a_huge_cell_does_not_tell_how_large_features_usually_are(rng, c, kind, C, layout):
    """A weight of 12 decides the rows of 1 as well, in which a fit may not have looked."""
    X, y = unlike(rng, c, kind)
    fits = []
    for solver in ("newton", "lbfgs"):
        with warnings.catch_warnings(action="ignore"):
            fits.append(SoftmaxRegression(C=C, fit_intercept=kind == "rare", solver=solver).fit(layout(X), y))
    for model in fits:
        coef = model.coef_.copy()
        coef[c - 2, 0] = 12  # of class 1
        at = [exact.objective(X, np.eye(c)[y], W, model.intercept_, 1 / (C * len(X))) for W in (model.coef_, coef)]
        best = min(at[1], *(other.objective_ for other in fits))
        assert not model.converged_ or at[0] <= best + 2e-4


def test_nearly_collinear_columns_without_a_penalty():
    """Conjugate gradients see nothing left to gain where F is 8e-3 above F*; no proof, no convergence."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((400, 8))
        X[:, 6:] = X[:, :6] @ rng.standard_normal((6, 2)) + 1e-9 * rng.standard_normal((400, 2))
        y = (X @ rng.standard_normal((8, 4)) + rng.gumbel(size=(400, 4))).argmax(1)
        model = SoftmaxRegression(C=np.inf)
        with warnings.catch_warnings(action="ignore"):
            model.fit(X, y)
        assert not model.converged_ or model.objective_ <= exact.infimum(X, np.eye(4)[y]) + 1e-4


def test_coefficients_that_float32_cannot_hold():
    """Two columns that differ by a hundredth, 1e4 from 0, without an intercept: the warning says what is to blame."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 2))
    y = (X[:, 0] + 0.3 * rng.logistic(size=200) > 0).astype(int)
    X = np.c_[1e4 + X[:, 1] + 0.01 * X[:, 0], 1e4 + X[:, 1], np.full(200, 3.0)].astype(np.float32)
    with pytest.warns(ConvergenceWarning, match="rounded to float32, that of X; .*use float64 data"):
        assert not SoftmaxRegression(C=np.inf, fit_intercept=False).fit(X, y).converged_
    assert SoftmaxRegression(C=np.inf, fit_intercept=False).fit(X.astype(np.float64), y).converged_
