"""What preconditions, against the Hessian of a naive reference where it is exact; and which is built when."""

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.solvers import blocks, diagonal, preconditioners, spectral
from tests.conftest import problem_of
from tests.objective.test_problem import LAYOUTS, make

KINDS = ("blocks", "spectral", "diagonal")


def built(problem, theta, kind):
    if kind == "blocks":
        H = blocks.class_blocks(problem, theta)
        each = np.arange(problem.m)
        H[:, each, each] += problem.penalty2.astype(H.dtype)
        return blocks.Blocks(problem, blocks.inverted(problem, H))
    if kind == "spectral":
        return spectral.Spectral(problem, *spectral.curvature(problem, spectral.basis(problem), theta))
    return diagonal.Diagonal(problem, diagonal.at_point(problem, theta))


def moments(problem, X, weight, theta):
    """(shares (r,), means (r, m), mean squares less the means (r, m, m)) of the features under w_ik, by NumPy."""
    coef, intercept = problem.split(theta)
    X = X * problem.unit
    Z = X @ coef.T + (intercept if len(intercept) else 0)
    Z = np.c_[np.zeros(len(Z)), Z] if problem.binary else Z
    P = np.exp(Z - Z.max(1, keepdims=True))
    P = (P / P.sum(1, keepdims=True))[:, -problem.r :]
    w = weight[:, None] * P * (1 - P) / weight.sum()
    share = w.sum(0)
    mean = w.T @ X / share[:, None] * problem.fit_intercept
    square = np.einsum("ik,ij,iq->kjq", w, X, X) - np.einsum("k,kj,kq->kjq", share, mean, mean)
    return share, mean, square


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("c", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_moments_at_a_point(rng, layout, c, fit_intercept):
    X, _, weight, problem = make(rng, layout, c=c, fit_intercept=fit_intercept)
    theta = 0.5 * rng.standard_normal(problem.size)
    share, mean, square = moments(problem, X, weight, theta)
    found = diagonal.at_point(problem, theta)
    assert_allclose(found.share, share, rtol=1e-9)
    if fit_intercept:
        assert_allclose(found.mean, mean, rtol=1e-9, atol=1e-12)
    assert_allclose(found.square, np.einsum("kjj->kj", square), rtol=1e-8, atol=1e-10)
    of, turned = spectral.curvature(problem, spectral.basis(problem), theta)
    U = of.vectors
    assert_allclose(turned.share, share, rtol=1e-9)
    assert_allclose(turned.square, np.einsum("ja,kjq,qa->ka", U, square, U), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("l2", [0.0, 1e-3, 10.0])
def test_a_basis_makes_both_diagonal(rng, layout, l2):
    """The Gram matrix of centred features at equal probabilities, and the penalty, of any strength."""
    X, _, weight, problem = make(rng, layout, l2=l2)
    of = spectral.basis(problem)
    Z = X * problem.unit
    Z = (Z - np.average(Z, axis=0, weights=weight)) * np.sqrt(weight / weight.sum())[:, None]
    gram = of.vectors.T @ (Z.T @ Z / problem.c) @ of.vectors
    penalty = of.vectors.T @ np.diag(problem.penalty2) @ of.vectors
    assert_allclose(gram, np.diag(of.curvature), atol=1e-6)
    assert_allclose(penalty, np.diag(of.penalty * l2), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_of_one_feature_they_are_the_inverse(rng, kind, layout, fit_intercept):
    """Of two classes and one feature there is nothing to leave out: each is the inverse of the Hessian."""
    _, _, _, problem = make(rng, layout, c=2, m=1, fit_intercept=fit_intercept, l2=0.05)
    theta = 0.5 * rng.standard_normal(problem.size)
    H = np.stack([Hessian(problem, theta).product(row) for row in np.eye(problem.size)])
    M = built(problem, theta, kind)
    for v in rng.standard_normal((3, problem.size)):
        assert_allclose(M(v), np.linalg.solve(H, v), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1.0, 1e30, 1e100])
def test_they_are_linear_at_any_size(rng, kind, dtype, scale):
    """In float32 too, which has no room for what is tiny or huge."""
    _, _, _, problem = make(rng, "dense", dtype)
    M = built(problem, 0.1 * rng.standard_normal(problem.size), kind)
    v = rng.standard_normal(problem.size)
    assert_allclose(M(scale * v) / scale, M(v), rtol=1e-4, atol=1e-6 * np.abs(M(v)).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_all_rows_are_decided_they_stay_finite(rng, kind, l2, layout):
    """No curvature is left, as of separable data."""
    _, _, _, problem = make(rng, layout, l2=l2)
    theta = 1e4 * rng.standard_normal(problem.size)
    M = built(problem, theta, kind)
    for v in rng.standard_normal((3, problem.size)):
        assert np.isfinite(M(v)).all()
        assert v @ M(v) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_columns_of_zeros_and_of_any_size(rng, kind, l2, dtype):
    """A column of zeros has the penalty alone, and no part in others; units come before anything is squared."""
    size = 1e150 if dtype == np.float64 else 1e15
    X = rng.standard_normal((90, 5)) * [1.0, 0.0, size, 1 / size, 3.0]
    for layout in (np.asarray, scipy.sparse.csr_array):
        design, y = as_design(layout(X.astype(dtype))), rng.integers(0, 3, 90)
        targets = as_targets(y, 90, 3, dtype)
        problem = problem_of(design, targets, l1=0.0, l2=l2, fit_intercept=True)
        M = built(problem, 0.1 * rng.standard_normal(problem.size) * problem.flat(np.ones((3, 6))), kind)
        v = rng.standard_normal(problem.size)
        coef, _ = problem.split(v)
        coef[:, 1] = 0  # as its gradient is
        found = problem.split(M(v))[0]
        assert np.isfinite(found).all()
        assert_allclose(found[:, 1], 0, atol=1e-6 * np.abs(found).max())
        assert v @ M(v) > 0


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_of_mapped_rows(rng, layout, dtype):
    """Of classes and under weights, for features less a shift and times a scale: sparse ones are not made dense."""
    X = np.where(rng.random((70, 9)) < 0.4, rng.standard_normal((70, 9)), 0).astype(dtype)
    scale, shift, own = rng.uniform(0.5, 2, 9), rng.standard_normal(9), rng.random(70)
    codes, weights = rng.integers(0, 4, 70), rng.random((3, 70)).astype(dtype)
    for move in (0.0, shift):
        mapped = (X.astype(np.float64) - move) * scale
        design = as_design(LAYOUTS[layout](X)).mapped(scale, move)
        found = design.class_sums(codes, own, 4)
        found = found if isinstance(found, np.ndarray) else found.toarray()
        assert_allclose(found, np.eye(4)[codes].T @ (own[:, None] * mapped), rtol=1e-5, atol=1e-5)
        ones = design.class_sums(codes, np.zeros(0), 4)
        ones = ones if isinstance(ones, np.ndarray) else ones.toarray()
        assert_allclose(ones, np.eye(4)[codes].T @ mapped, rtol=1e-5, atol=1e-5)
        first, second = design.weighted(weights)
        assert_allclose(first, weights @ mapped, rtol=1e-4, atol=1e-4)
        assert_allclose(second, weights @ mapped**2, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [1e-160, 1e160])
def test_entries_whose_squares_float64_does_not_hold(rng, size):
    X = scipy.sparse.random(60, 30, 0.3, format="csr", random_state=0) * size
    design = as_design(X).mapped(np.full(30, 1 / size))
    for found, power in zip(design.weighted(np.ones((1, 60))), (1, 2), strict=True):
        assert_allclose(found[0], ((X.toarray() / size) ** power).sum(0), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_built_serves_another_penalty(rng, kind, monkeypatch):
    """As if it were built for that one; blocks are factored again where the penalty is another by far."""
    _, _, _, problem = make(rng, "dense", l2=0.1)
    theta = 0.3 * rng.standard_normal(problem.size)
    prices = {"blocks": (1.0, 1.0), "spectral": (np.inf, 1.0), "diagonal": (np.inf, np.inf)}[kind]
    monkeypatch.setattr(blocks, "cost", lambda *_: prices[0] * 1e-9)
    monkeypatch.setattr(spectral, "cost", lambda *_: prices[1] * 1e-9)
    assert preconditioners.remembered(problem) is None
    preconditioners.sharper(problem, theta)
    assert problem.cache["kept"][0] == kind
    v = rng.standard_normal(problem.size)
    for l2 in (0.1, 10.0, 1e-4):
        other = problem.like(l2=l2)
        kept = preconditioners.remembered(other)
        fresh = built(other, theta, kind)
        assert_allclose(kept(v), fresh(v), rtol=1e-6)


def test_costs_are_of_shapes(rng):
    """The more classes the dearer blocks are, until their memory forbids them."""
    few, many = (make(rng, "dense", c=c)[3] for c in (4, 40))
    assert blocks.cost(few, 4, 90) < blocks.cost(many, 40, 90) < np.inf
    assert blocks.cost(few, 10**7, 90) == np.inf


def test_whether_features_are_alike(rng):
    """Then a basis tells nothing; mean and scale of columns do not matter."""
    X = rng.standard_normal((2000, 50))
    scale, offset = 10.0 ** rng.uniform(-3, 3, 50), 5 * rng.standard_normal(50)

    def asked(X):
        y = np.arange(len(X)) % 3
        return spectral.alike(
            problem_of(as_design(X), as_targets(y, len(X), 3, np.float64), l1=0.0, l2=1e-3, fit_intercept=True)
        )

    assert asked(X)
    assert asked(X * scale + offset * scale)
    assert not asked(X @ rng.standard_normal((50, 50)))
    assert not asked(np.cumsum(X, 1))
