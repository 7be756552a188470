"""Columns of one row merged: the same optimum as without, by the certificate of the whole problem."""

import itertools

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

from fastsoftmax import SoftmaxRegression
from fastsoftmax.data import merging
from fastsoftmax.data.layouts import as_design


def text(rng, n=60, common=12, own=5, dtype=np.float64):
    """Rows of common columns, and of columns that they alone have; one common column is in every row, one in none."""
    X = np.zeros((n, common + n * own + 1), dtype)
    X[:, :common] = rng.random((n, common)) * (rng.random((n, common)) < 0.4)
    X[:, 0] = 1
    for i in range(0, n, 2):  # every other row has some
        X[i, common + i * own : common + (i + 1) * own] = rng.standard_normal(own)
    return scipy.sparse.csr_matrix(X), np.arange(n) % 3


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(merging, "LEAST", 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_logits_and_norms_are_the_same(rng, small, dtype):
    X, _ = text(rng, dtype=np.float64 if dtype == np.uint8 else dtype)
    X = scipy.sparse.csr_matrix(X.multiply(40).astype(np.uint8)) if dtype == np.uint8 else X
    merge = merging.merged(as_design(X))
    narrow = np.zeros((60, merge.design.m))
    merge.design.block(0, 60, narrow)
    w = rng.standard_normal((3, merge.design.m))
    coef = merge.expand(w)
    assert coef.shape == (3, X.shape[1])
    assert_allclose(X.astype(np.float64) @ coef.T, narrow @ w.T, rtol=1e-12, atol=1e-12)
    assert_allclose((coef**2).sum(), (w**2).sum(), rtol=1e-6)
    assert_allclose(merge.project(coef), w, rtol=1e-6)
    assert merge.design.m < 0.75 * X.shape[1]
    indices, indptr = merge.design.indices, merge.design.indptr
    assert all((np.diff(indices[a:b]) > 0).all() for a, b in itertools.pairwise(indptr))


@pytest.mark.parametrize("C", [0.1, 1.0, 100.0, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fits_are_those_of_the_whole_problem(rng, small, monkeypatch, C, weighted, dtype):
    X, y = text(rng, dtype=dtype)
    weight = rng.random(60) + 0.1 if weighted else None
    merged = SoftmaxRegression(C=C, tol=1e-5).fit(X, y, weight)
    monkeypatch.setattr(merging, "LEAST", 10**9)
    whole = SoftmaxRegression(C=C, tol=1e-5).fit(X, y, weight)
    assert merged.converged_
    assert merged.coef_.shape == whole.coef_.shape
    assert merged.coef_.dtype == dtype
    assert abs(merged.objective_ - whole.objective_) <= 1e-5
    if np.isfinite(C):
        assert merged.duality_gap_ <= 1e-5
        assert_allclose(merged.coef_, whole.coef_, atol=0.05 * np.abs(whole.coef_).max())
        np.testing.assert_array_equal(merged.coef_[:, -1], 0)


def test_a_warm_start_is_projected(rng, small):
    X, y = text(rng)
    model = SoftmaxRegression(warm_start=True, tol=1e-6).fit(X, y)
    before = model.coef_.copy()
    model.fit(X, y)
    assert model.n_iter_[0] <= 1
    assert_allclose(model.coef_, before, atol=1e-5)


def test_where_it_is_not_worth_it(rng, small, monkeypatch):
    X, y = text(rng, own=1)
    assert merging.merged(as_design(X[:, :12])) is None  # all common
    assert merging.merged(as_design(X.toarray())) is None  # dense
    assert merging.merged(as_design(X).mapped(1.0, 0.5)) is None  # shifted
    l1 = SoftmaxRegression(l1_ratio=1.0, C=10.0).fit(X, y)
    assert l1.converged_
    monkeypatch.setattr(merging, "LEAST", 10**9)
    np.testing.assert_array_equal(l1.coef_, SoftmaxRegression(l1_ratio=1.0, C=10.0).fit(X, y).coef_)
