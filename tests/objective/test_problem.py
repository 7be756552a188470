"""F, its gradient, products with its Hessian, Gram matrices, moments: against NumPy, in every layout."""

import numpy as np
import pytest
import scipy.sparse
from numpy.testing import assert_allclose

from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective.columns import Columns
from fastsoftmax.objective.grams import grams
from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.solvers import diagonal, spectral
from fastsoftmax.solvers.blocks import Blocks, class_blocks, inverted
from fastsoftmax.solvers.preconditioners import shared
from fastsoftmax.solvers.sampling import weighty_rows
from tests import reference
from tests.conftest import problem_of

LAYOUTS = {"dense": np.asarray, "csr": scipy.sparse.csr_array}
SHAPES = [(1, 1), (7, 3), (50, 12), (67, 33), (130, 67)]


def random_rows(rng, n, m, dtype, layout):
    X = np.where(rng.random((n, m)) < 0.4, rng.standard_normal((n, m)) * 3, 0)
    X = np.abs(X).astype(dtype) if dtype == np.uint8 else X.astype(dtype)
    return X, as_design(LAYOUTS[layout](X))


def make(rng, layout, dtype=np.float64, c=4, m=6, **options):
    X, design = random_rows(rng, 90, m, dtype, layout)
    y, weight = rng.integers(0, c, 90), rng.random(90)
    kernel = np.float64 if dtype == np.float64 else np.float32
    settings = {"l1": 0.0, "l2": 0.1, "fit_intercept": True, "binary": c == 2} | options
    targets = as_targets(y, 90, c, kernel, sample_weight=weight)
    return X.astype(np.float64), y, weight, problem_of(design, targets, **settings)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("c", [2, 4, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_sparse_and_dense_loss_gradient(rng, layout, dtype, c, shape):
    import fastsoftmax as fs

    n, m = shape
    X, _ = random_rows(rng, n, m, dtype, layout)
    y, weight = rng.integers(0, c, n), rng.random(n)
    coef, intercept = rng.standard_normal((c, m)) * 0.3, rng.standard_normal(c)
    found = fs.loss_gradient(LAYOUTS[layout](X), y, coef, intercept, sample_weight=weight, l2=0.1, scale=0.5)
    wanted = reference.loss_gradient(X, y, coef, intercept, weight, 0.0, 0.1, 0.5)
    for a, b in zip(found, wanted, strict=True):
        assert_allclose(a, b, rtol=2e-5 if dtype != np.float64 else 1e-10, atol=1e-5 if dtype != np.float64 else 1e-12)
    proba = fs.predict_proba(LAYOUTS[layout](X), coef, intercept)
    assert_allclose(proba, reference.softmax(X.astype(float) @ coef.T + intercept), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("c", [2, 20, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_very_many_sparse_features(rng, c, dtype):
    """So many that each entry of the gradient has one owner; rows and columns without entries too."""
    import fastsoftmax as fs

    n, m = 300, 70000
    X = scipy.sparse.random(n, m, 2e-4, "csr", dtype, random_state=0) * 3
    X = scipy.sparse.vstack([X, scipy.sparse.csr_matrix((5, m), dtype=dtype)]).tocsr()
    y, coef = rng.integers(0, c, n + 5), rng.standard_normal((c, m))
    found = fs.loss_gradient(X, y, coef, np.zeros(c), label_smoothing=0.1)
    dense = X.toarray().astype(float)
    for a, b in zip(found, reference.loss_gradient(dense, y, coef, None, None, 0.1), strict=True):
        assert_allclose(a, b, rtol=1e-4 if dtype == np.float32 else 1e-9, atol=1e-6 if dtype == np.float32 else 1e-12)


def test_csr_of_any_form_means_the_same(rng):
    """Unsorted, with duplicates, 64-bit indices, other formats: the same bytes as the canonical form."""
    import fastsoftmax as fs

    X, _ = random_rows(rng, 40, 9, np.float64, "dense")
    S, y, coef = scipy.sparse.csr_matrix(X), rng.integers(0, 3, 40), rng.standard_normal((3, 9))
    wanted = fs.loss_gradient(S, y, coef)
    mixed = S.copy()
    for r in range(40):
        part = slice(mixed.indptr[r], mixed.indptr[r + 1])
        mixed.indices[part], mixed.data[part] = mixed.indices[part][::-1].copy(), mixed.data[part][::-1].copy()
    mixed.has_sorted_indices = mixed.has_canonical_format = False
    rows, columns = S.nonzero()
    twice = scipy.sparse.csr_matrix((np.r_[S.data, S.data] / 2, (np.r_[rows, rows], np.r_[columns, columns])), S.shape)
    before = mixed.indices.copy()
    for form in (mixed, twice, S.tocsc(), S.tocoo(), scipy.sparse.csr_array(S), S.tolil()):
        for a, b in zip(fs.loss_gradient(form, y, coef), wanted, strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(mixed.indices, before)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda S: S.indices.__setitem__(2, 99), "column index 99"),
        (lambda S: S.indices.__setitem__(2, -1), "column index -1"),
        (lambda S: S.indptr.__setitem__(3, 50), "row pointers"),
        (lambda S: S.indptr.__setitem__(-1, 10**6), "row pointers"),
        (lambda S: S.indptr.__setitem__(0, 1), "row pointers"),
    ],
)
def test_damaged_csr_is_refused(rng, spoil, message):
    import fastsoftmax as fs

    S = scipy.sparse.csr_matrix(np.eye(10, 6) + 1)
    spoil(S)
    with pytest.raises(ValueError, match=message):
        fs.loss_gradient(S, np.arange(10) % 2, np.zeros((2, 6)))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("c", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("unit", [None, "random"])
def test_gradient_and_hessian_by_differences(rng, layout, c, fit_intercept, unit):
    columns = None if unit is None else Columns(np.exp2(rng.integers(-3, 3, 6)), np.zeros(6), np.ones(6))
    _, _, _, problem = make(rng, layout, c=c, fit_intercept=fit_intercept, columns=columns)
    theta, direction, h = rng.standard_normal(problem.size), rng.standard_normal(problem.size), 1e-6
    value = [problem.loss_gradient(theta + sign * h * direction) for sign in (1, -1)]
    slope = float(problem.loss_gradient(theta)[1] @ direction)
    assert_allclose((value[0][0] - value[1][0]) / (2 * h), slope, rtol=1e-6)
    curved = Hessian(problem, theta).product(direction)
    assert_allclose(curved, (value[0][1] - value[1][1]) / (2 * h), rtol=1e-5, atol=1e-8)


def test_hessp_over_very_many_sparse_features(rng):
    n, m, c = 200, 70000, 4
    X = scipy.sparse.random(n, m, 3e-4, "csr", random_state=0)
    problem = problem_of(
        as_design(X), as_targets(rng.integers(0, c, n), n, c, np.float64), l1=0.0, l2=0.1, fit_intercept=True
    )
    theta, direction, h = rng.standard_normal(problem.size), rng.standard_normal(problem.size), 1e-6
    ends = [problem.loss_gradient(theta + sign * h * direction)[1] for sign in (1, -1)]
    curved = Hessian(problem, theta).product(direction)
    assert_allclose(curved, (ends[0] - ends[1]) / (2 * h), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("shape", [*SHAPES, (800, 100)])
def test_grams(rng, layout, dtype, shape):
    n, m = shape
    X, design = random_rows(rng, n, m, dtype, layout)
    shift, scale, weights = rng.standard_normal(m), rng.random(m) + 0.5, rng.random((3, n))
    kernel = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    found = grams(design.mapped(scale, shift), kernel, weights, True)
    Z = np.c_[(X - shift) * scale, np.ones(n)]
    for H, w in zip(found, weights, strict=True):
        wanted = (Z * w[:, None]).T @ Z
        assert_allclose(np.triu(H), np.triu(wanted), rtol=1e-4 if kernel == np.float32 else 1e-11, atol=1e-3 * (kernel == np.float32))  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_moments(rng, layout, weighted):
    X, design = random_rows(rng, 500, 7, np.float32, layout)
    weight, center = rng.random(500) if weighted else np.zeros(0), rng.standard_normal(7)
    w = weight if weighted else np.ones(500)
    total, squares = design.moments(weight, center)
    assert_allclose(total, w @ (X.astype(float) - center), rtol=1e-10, atol=1e-9)
    assert_allclose(squares, w @ (X.astype(float) - center) ** 2, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [2, 4])
@pytest.mark.parametrize("count", [1, "all"])
def test_blocks_invert(rng, dtype, c, count):
    """On vectors whose classes sum to 0, what `Blocks` does is the inverse, with the sum projected out again."""
    _, _, _, problem = make(rng, "dense", dtype, c=c)
    M, r = problem.m + 1, problem.r
    A = rng.standard_normal((1 if count == 1 else r, 3 * M, M))
    H = (A.transpose(0, 2, 1) @ A).astype(dtype)
    v = rng.standard_normal(problem.size)
    coef, intercept = problem.split(v)
    rows = np.c_[coef, intercept]
    rows = rows - rows.mean(0) * problem.gauge
    wanted = np.stack([np.linalg.solve(H[min(k, len(H) - 1)].astype(float), rows[k]) for k in range(r)])
    wanted = wanted - wanted.mean(0) * problem.gauge
    found = problem.split(Blocks(problem, inverted(problem, H))(v))
    assert_allclose(np.c_[found[0], found[1]], wanted, rtol=1e-3, atol=1e-4 if dtype == np.float32 else 1e-9)


def test_preconditioners_are_symmetric_and_positive(rng):
    for c in (2, 4):
        for layout in LAYOUTS:
            _, _, _, problem = make(rng, layout, c=c)
            theta = 0.1 * rng.standard_normal(problem.size)
            blocks = class_blocks(problem, theta) + 0.1 * np.eye(problem.m + 1)
            spectrum = spectral.Spectral(problem, *spectral.curvature(problem, spectral.basis(problem), theta))
            diagonals = diagonal.Diagonal(problem, diagonal.at_point(problem, theta))
            for M in (shared(problem), Blocks(problem, inverted(problem, blocks)), spectrum, diagonals):
                u, v = rng.standard_normal((2, problem.size))
                assert_allclose(u @ M(v), v @ M(u), rtol=1e-8, atol=1e-10)
                assert v @ M(v) > 0


def test_weighty_rows_stand_for_all(rng):
    """Weights under sampling add up to about the total, heavy rows are always there, and small data are kept whole."""
    w = rng.exponential(size=5000) ** 3
    rows, weights = weighty_rows(w, 400)
    assert abs(len(rows) - 400) <= 2
    assert_allclose(weights.sum(), w.sum(), rtol=0.05)
    assert np.isin(np.argsort(w)[-50:], rows).all()
    assert (weights >= w[rows] * (1 - 1e-12)).all()
    rows, weights = weighty_rows(w[:100], 400)
    np.testing.assert_array_equal(rows, np.arange(100))
    assert_allclose(weights, w[:100])


def test_subsample_and_rows(rng):
    X, _, _, problem = make(rng, "csr")
    rows = np.array([3, 1, 80])
    part = problem.data.rows(rows)
    out = np.empty((3, 6))
    part.features(0, 3, out)
    assert_allclose(out, X[rows])
    small = problem.subsample(30)
    assert small.n == small.data.n == 30
    assert small.objective.in_memory
    small.data.features(0, 3, out)
    assert_allclose(out, X[[0, 3, 6]])
    assert_allclose(small.l2 * small.total, problem.l2 * problem.total)
