"""SoftmaxRegression: the optimum by an independent long run, its certificate, and scikit-learn's manners."""

import pickle
import warnings

import numpy as np
import pandas
import polars
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_iris, load_wine, make_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax import SoftmaxRegression, SoftmaxRegressionCV, SoftmaxSGDClassifier, path
from fastsoftmax.engine.threads import JIT
from tests import reference


@parametrize_with_checks([SoftmaxRegression(), SoftmaxSGDClassifier()])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


def both_rows(model):
    """coef (c, m) and intercept (c,) of two classes too."""
    if len(model.coef_) > 1:
        return model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    zero = np.zeros_like(model.coef_, np.float64)
    return np.concatenate([zero, model.coef_]), np.concatenate([[0.0], model.intercept_]).astype(np.float64)


def problem(rng, n=120, m=6, c=4, spread=1.0):
    X = rng.standard_normal((n, m)) * spread
    y = (X @ rng.standard_normal((m, c)) / spread + rng.gumbel(size=(n, c))).argmax(1)
    return X, np.where(np.arange(n) < c, np.arange(n), y)  # every class is there


def one_hot(y, c=None):
    return (np.asarray(y)[:, None] == np.arange(c or np.max(y) + 1)) * 1.0


def excess(model, X, Y, best, l2, l1=0.0, weight=None):
    """F of the stored coefficients, less the least F; for two classes the penalty is on one row."""
    coef, intercept = both_rows(model)
    return reference.objective(X, Y, coef, intercept, l2, l1, weight) - best


LAYOUTS = {
    "dense": np.asarray,
    "fortran": np.asfortranarray,
    "csr": scipy.sparse.csr_matrix,
    "csc": scipy.sparse.csc_array,
    "int64 indices": lambda X: _wide_indices(scipy.sparse.csr_matrix(X)),
}


def _wide_indices(X):
    X.indices, X.indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
    return X


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("c", [2, 3, 5])
def test_the_optimum_in_every_layout(rng, layout, dtype, weighted, c):
    """F within the stated gap of the optimum, which an independent run finds; two classes have scikit-learn's F."""
    X, y = problem(rng, m=5, c=c)
    X = (X * 2 + 5).clip(0, 255).astype(dtype) if dtype == np.uint8 else X.astype(dtype)
    weight = rng.integers(0, 3, len(y)).astype(float) if weighted else None
    if weighted:
        weight[:c] = 1
    S, C, tol = (weight.sum() if weighted else len(y)), 0.5, 1e-6 if dtype != np.float32 else 1e-5
    l2 = 1 / (C * S)
    model = SoftmaxRegression(C=C, tol=tol).fit(LAYOUTS[layout](X), y, weight)
    assert model.converged_
    assert model.duality_gap_ <= tol
    assert model.coef_.dtype == (np.float32 if dtype == np.float32 else np.float64)
    Y = one_hot(y)
    if c > 2:
        best, _, _ = reference.optimum(X, Y, l2, 0.0, weight)
        found = excess(model, X, Y, best, l2, 0.0, weight)
    else:  # w = w1 - w0 under l2 is w1 = -w0 = w / 2 under 2 l2
        best, _, _ = reference.optimum(X, Y, 2 * l2, 0.0, weight)
        found = excess(model, X, Y, best, l2, 0.0, weight)
    assert -1e-9 <= found <= model.duality_gap_ + 1e-9
    np.testing.assert_allclose(model.intercept_.sum() if c > 2 else 0, 0, atol=1e-4)


@pytest.mark.parametrize("solver", ["lbfgs", "newton", "newton-cg", "newton-cholesky", "sag", "saga"])
@pytest.mark.parametrize("c", [2, 4])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_every_solver_agrees_with_scikit_learn(rng, solver, c, fit_intercept):
    X, y = problem(rng, c=c)
    ours = SoftmaxRegression(solver=solver, tol=1e-10, fit_intercept=fit_intercept).fit(X, y)
    theirs = LogisticRegression(tol=1e-10, max_iter=10000, fit_intercept=fit_intercept).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=2e-5)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), atol=1e-4)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("c", [2, 3])
def test_l1_and_elastic_net(rng, l1_ratio, sparse, c):
    X, y = problem(rng, n=80, m=8, c=c)
    C, n = 0.2, len(y)
    l1, l2 = l1_ratio / (C * n), (1 - l1_ratio) / (C * n)
    data = scipy.sparse.csr_array(X) if sparse else X
    model = SoftmaxRegression(C=C, l1_ratio=l1_ratio, tol=1e-8).fit(data, y)
    assert model.solver_ == "proximal"
    assert model.converged_
    if c > 2:
        best, coef, _ = reference.optimum(X, one_hot(y), l2, l1)
        assert -1e-9 <= excess(model, X, one_hot(y), best, l2, l1) <= model.duality_gap_ + 1e-8
        np.testing.assert_array_equal(model.coef_ == 0, np.abs(coef) < 1e-7)  # zeros are exact
    else:
        theirs = LogisticRegression(C=C, l1_ratio=l1_ratio, solver="saga", tol=1e-10, max_iter=100000).fit(X, y)
        np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-5)
        np.testing.assert_array_equal(model.coef_ == 0, theirs.coef_ == 0)
    if l1_ratio == 1.0:
        assert (model.coef_ == 0).any()


def test_the_gap_is_never_below_the_truth(rng):
    """Problems perturbed, rescaled and cut short: F - F* is at most what is stated, and no convergence is claimed."""
    for trial in range(40):
        c, m = int(rng.integers(2, 5)), int(rng.integers(1, 6))
        X, y = problem(rng, n=60, m=m, c=c, spread=10.0 ** rng.integers(-2, 3))
        X = X + rng.standard_normal(m) * 10.0 ** rng.integers(-2, 2)
        weight = rng.random(len(y)) + 0.01 if trial % 2 else None
        S = len(y) if weight is None else weight.sum()
        C, l1_ratio, smoothing = 10.0 ** rng.integers(-3, 2), [0.0, 0.0, 1.0, 0.3][trial % 4], 0.1 * (trial % 3 == 0)
        l1, l2 = l1_ratio / (C * S), (1 - l1_ratio) / (C * S)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = SoftmaxRegression(
                C=C, l1_ratio=l1_ratio, max_iter=int(rng.integers(0, 6)), label_smoothing=smoothing, tol=1e-9,
                fit_intercept=trial % 5 > 0,
            ).fit(X, y, weight)  # fmt: skip
        Y = one_hot(y, c) * (1 - smoothing) + smoothing / c
        factor = 2 if c == 2 else 1  # the penalty of one row, for two
        best, _, _ = reference.optimum(X, Y, factor * l2, l1, weight, trial % 5 > 0)
        found = excess(model, X, Y, best, l2, l1, weight)
        assert found <= model.duality_gap_ + 1e-9 * max(1, abs(best)), (trial, found, model.duality_gap_)
        assert model.converged_ == (model.duality_gap_ <= 1e-9 and model.optimality_ <= 1e-9)
        G, g = reference.gradient(X, Y, *both_rows(model), l2, weight)
        G = G[1:] if c == 2 else G
        if l1:
            coef, l = model.coef_, l1
            G = np.where(coef != 0, G + l * np.sign(coef), np.sign(G) * np.maximum(np.abs(G) - l, 0))
        largest = max(np.abs(G).max(), np.abs(g).max() if trial % 5 else 0)
        np.testing.assert_allclose(model.optimality_, largest, rtol=1e-6, atol=1e-12)


def test_not_converged_is_said(rng):
    X, y = problem(rng)
    with pytest.warns(ConvergenceWarning, match=r"largest gradient entry .* duality gap .*max_iter=1"):
        model = SoftmaxRegression(solver="lbfgs", max_iter=1).fit(X, y)
    assert not model.converged_
    assert model.n_iter_.tolist() == [1]
    assert model.n_iter_.dtype == np.int32


def test_without_a_penalty_the_gradient_decides(rng):
    X, y = problem(rng, n=400)
    model = SoftmaxRegression(C=np.inf, tol=1e-8).fit(X, y)
    assert np.isnan(model.duality_gap_)
    assert model.optimality_ <= 1e-8
    np.testing.assert_allclose(model.coef_.sum(0), 0, atol=1e-9)


def test_small_c_does_not_stop_at_zero(rng):
    X, y = problem(rng)
    model = SoftmaxRegression(C=1e-6, tol=1e-9).fit(X, y)
    assert np.abs(model.coef_).max() > 0


def test_standardize_is_a_pipeline_in_units_of_x(rng):
    """Dense and sparse, weighted, a constant column, and a mean that is large against the deviation."""
    X, y = problem(rng, n=200, m=5)
    X = X * [1, 100, 1e-3, 1, 1] + [0, 5, 0, 1e5, 0]
    X[:, 4] = 7.0
    weight = rng.random(200) + 0.1
    for sparse in (False, True):
        for w in (None, weight):
            scaler = StandardScaler().fit(X, sample_weight=w)
            theirs = SoftmaxRegression(tol=1e-9).fit(scaler.transform(X), y, w)
            data = scipy.sparse.csr_array(X) if sparse else X
            ours = SoftmaxRegression(tol=1e-7, standardize=True).fit(data, y, w)
            np.testing.assert_allclose(ours.coef_, theirs.coef_ / scaler.scale_, rtol=1e-3, atol=1e-6)
            np.testing.assert_allclose(ours.predict_proba(data), theirs.predict_proba(scaler.transform(X)), atol=1e-6)


def test_soft_targets_and_smoothing(rng):
    X, y = problem(rng)
    Y = rng.dirichlet(np.ones(4), len(y))
    model = SoftmaxRegression(tol=1e-9).fit(X, Y)
    best, _, _ = reference.optimum(X, Y, 1 / len(y))
    assert model.classes_.tolist() == [0, 1, 2, 3]
    assert -1e-10 <= excess(model, X, Y, best, 1 / len(y)) <= 1e-9
    smooth = SoftmaxRegression(tol=1e-9, label_smoothing=0.2).fit(X, y)
    same = SoftmaxRegression(tol=1e-9).fit(X, 0.8 * one_hot(y) + 0.05)
    np.testing.assert_allclose(smooth.coef_, same.coef_, atol=1e-7)
    with pytest.raises(ValueError, match="sum to 1"):
        SoftmaxRegression().fit(X, Y * 2)
    with pytest.warns(DataConversionWarning, match="column-vector"):
        SoftmaxRegression().fit(X, y[:, None])


def test_a_class_without_weight_is_left_out(rng):
    """Its probability is next to 0, F next to that without it, and the gap says so."""
    X, y = problem(rng, c=4)
    weight = np.where(y == 2, 0.0, 1.0)
    model = SoftmaxRegression().fit(X, y, weight)
    kept = y != 2
    without = SoftmaxRegression().fit(X[kept], y[kept])
    assert model.coef_.shape == (4, 6)
    assert not model.coef_[2].any()
    np.testing.assert_allclose(model.coef_[[0, 1, 3]], without.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_.sum(), 0, atol=1e-9)
    F = reference.objective(X, one_hot(y), *both_rows(model), 1 / weight.sum(), 0.0, weight)
    assert 0 <= F - without.objective_ <= 1e-5
    assert without.duality_gap_ < model.duality_gap_ <= without.duality_gap_ + 1e-5
    one = SoftmaxRegression().fit(X, y, np.where(y == 1, 1.0, 0.0))
    assert (one.predict(X) == 1).all()
    two = SoftmaxRegression().fit(X, y > 0, np.where(y > 0, 1.0, 0.0))
    assert two.coef_.shape == (1, 6)
    assert two.predict(X).all()


def truth(model, X, Y, l2, l1=0.0, weight=None, fit_intercept=True):
    """F of what is stored, and the least F."""
    coef, intercept = both_rows(model)
    factor = 2 if len(model.coef_) == 1 else 1
    best, _, _ = reference.optimum(X, Y, factor * l2, l1, weight, fit_intercept)
    return reference.objective(X, Y, coef, intercept, l2, l1, weight), best


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("c", [2, 3, 4])
@pytest.mark.parametrize("l1_ratio", [0.0, 0.5])
def test_certificates_with_a_class_without_weight(rng, fit_intercept, c, l1_ratio):
    """What is stated is of the stored coefficients of all classes; without an intercept the class is fitted along."""
    X, y = problem(rng, c=c)
    weight = np.where(y == c - 1, 0.0, 1.0)
    l1, l2 = l1_ratio / weight.sum(), (1 - l1_ratio) / weight.sum()
    model = SoftmaxRegression(tol=1e-6, l1_ratio=l1_ratio, fit_intercept=fit_intercept).fit(X, y, weight)
    F, best = truth(model, X, one_hot(y), l2, l1, weight, fit_intercept)
    np.testing.assert_allclose(model.objective_, F, rtol=1e-9, atol=1e-12)
    assert F - best <= model.duality_gap_ + 1e-7
    assert model.converged_


@pytest.mark.parametrize("options", [{"solver": "lbfgs"}, {"l1_ratio": 1.0}, {"solver": "newton"}])
def test_samples_of_rows_have_weight(rng, options):
    """Every other row weighs nothing: the very rows that an evenly spaced sample takes."""
    n = 2000
    X, y = problem(rng, n=n, c=3)
    weight = np.arange(n) % 2.0
    model = SoftmaxRegression(**options).fit(X, y, weight)
    same = SoftmaxRegression(**options).fit(X[1::2], y[1::2])
    np.testing.assert_allclose(model.coef_, same.coef_, atol=1e-6)


@pytest.mark.parametrize("mean", [10.0, 1e2, 1e3])
def test_l1_of_features_with_large_means(rng, mean):
    X, y = problem(rng, n=150, m=4, c=3)
    plain = SoftmaxRegression(l1_ratio=1.0, tol=1e-7).fit(X, y)
    model = SoftmaxRegression(l1_ratio=1.0, tol=1e-5).fit(X + mean, y)
    assert model.converged_
    np.testing.assert_allclose(model.coef_, plain.coef_, atol=1e-3)


def test_probabilities_that_nearly_sum_to_one(rng):
    X, y = problem(rng)
    Y = rng.dirichlet(np.ones(4), len(y))
    model = SoftmaxRegression(tol=1e-9).fit(X, Y * 1.0005)
    np.testing.assert_allclose(model.coef_, SoftmaxRegression(tol=1e-9).fit(X, Y).coef_, atol=1e-8)


def test_standardize_sparse_with_means_of_a_million(rng):
    X, y = problem(rng, c=3)
    X = X + 1e6
    dense = SoftmaxRegression(standardize=True).fit(X, y)
    sparse = SoftmaxRegression(standardize=True).fit(scipy.sparse.csr_array(X), y)
    np.testing.assert_allclose(sparse.objective_, dense.objective_, rtol=1e-9)


def test_standardize_without_an_intercept_only_scales(rng):
    X, y = problem(rng, c=3)
    X = X * [1, 10, 100, 1, 1, 1] + 3
    model = SoftmaxRegression(standardize=True, fit_intercept=False, tol=1e-8).fit(X, y)
    assert not model.intercept_.any()
    same = SoftmaxRegression(fit_intercept=False, tol=1e-8).fit(X / X.std(0), y)
    np.testing.assert_allclose(model.coef_ * X.std(0), same.coef_, atol=1e-6)


def test_standardize_with_l1(rng):
    X, y = problem(rng, c=3)
    X = X * [1, 10, 100, 1, 1, 1]
    model = SoftmaxRegression(standardize=True, l1_ratio=1.0, C=0.1, tol=1e-8).fit(X, y)
    same = SoftmaxRegression(l1_ratio=1.0, C=0.1, tol=1e-8).fit(StandardScaler().fit_transform(X), y)
    np.testing.assert_allclose(model.coef_ * X.std(0), same.coef_, atol=1e-6)


def test_bytes_that_are_stored_twice_are_added(rng):
    X, y = problem(rng, m=3, c=3)
    X = (np.abs(X) * 80).clip(0, 200).astype(np.uint8)
    S = scipy.sparse.csr_matrix(X)
    rows, columns = S.nonzero()
    twice = scipy.sparse.csr_matrix((120, 3), dtype=np.uint8)
    order = np.argsort(np.r_[rows, rows], kind="stable")
    twice.data, twice.indices = np.r_[S.data, S.data][order], np.r_[columns, columns][order].astype(np.int32)
    twice.indptr = 2 * S.indptr
    twice.has_canonical_format = False
    np.testing.assert_allclose(
        SoftmaxRegression(tol=1e-8).fit(twice, y).coef_, SoftmaxRegression(tol=1e-8).fit(X * 2.0, y).coef_, atol=1e-7
    )


def test_a_tolerance_of_zero_ends(rng):
    X, y = problem(rng)
    for solver in ("lbfgs", "newton", "proximal"):
        model = SoftmaxRegression(solver=solver, tol=0.0)
        with pytest.warns(ConvergenceWarning, match="Rounding"):
            model.fit(X, y)
        assert model.n_iter_[0] < 300
        assert model.optimality_ < 1e-12


def test_a_refused_fit_leaves_the_features_alone(rng):
    X, y = problem(rng)
    model = SoftmaxRegression().fit(X, y)
    for bad in ((X[:, :5], y * 0), (X[:, :5], y, -np.ones(120)), (X[:, :5], rng.random((120, 3)))):
        with pytest.raises(ValueError, match=r"classes|[Nn]egative|sum to 1"):
            model.fit(*bad)
    assert model.n_features_in_ == 6
    assert model.predict(X).shape == (120,)


HARD = {
    "separable": lambda X, y: (X + 100.0 * y[:, None], y, {"C": 1e3}),
    "constant": lambda X, y: (np.c_[X, np.ones(len(X))], y, {}),
    "collinear": lambda X, y: (np.c_[X, X, X], y, {}),
    "collinear, no penalty": lambda X, y: (np.c_[X, X], y, {"C": np.inf, "tol": 1e-6}),
    "more features than rows": lambda X, y: (np.tile(X[:12], (1, 10)), y[:12], {}),
    "one feature": lambda X, y: (X[:, :1], y, {}),
    "tiny C": lambda X, y: (X, y, {"C": 1e-10}),
    "large C": lambda X, y: (X, y, {"C": 1e6}),
    "no intercept": lambda X, y: (X, y, {"fit_intercept": False}),
    "mixed scales": lambda X, y: (X * np.logspace(-6, 4, X.shape[1]), y, {}),
}


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("c", [2, 3])
def test_hard_problems(rng, case, c):
    """Converged, and no worse than a long independent run."""
    X, y = problem(rng, c=c)
    X, y, options = HARD[case](X, y)
    model = SoftmaxRegression(**options).fit(X, y)
    assert model.converged_
    C = options.get("C", 1.0)
    l2 = 0.0 if np.inf == C else 1 / (C * len(y))
    best, _, _ = reference.optimum(X, one_hot(y, c), (2 if c == 2 else 1) * l2, 0.0, None, case != "no intercept")
    found = excess(model, X, one_hot(y, c), best, l2)
    assert found <= (1e-5 if np.isnan(model.duality_gap_) else model.duality_gap_ + 1e-9 * (1 + best))


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1e12, 1e30])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_and_tiny_scales(rng, scale, dtype):
    """With the penalty scaled along, the same classifier."""
    X, y = problem(rng)
    plain = SoftmaxRegression(C=1.0).fit(X, y)
    C = 1 / scale**2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a gradient of 1e30 times rounding is more than tol
        model = SoftmaxRegression(C=C).fit((X * scale).astype(dtype), y)
    np.testing.assert_allclose(model.predict_proba((X * scale).astype(dtype)), plain.predict_proba(X), atol=2e-2)


def test_labels_of_every_kind(rng):
    X, y = problem(rng, c=3)
    numbers = SoftmaxRegression().fit(X, y)
    for classes in (np.array(["a", "b", "c"]), np.array(["a", "b", "c"], object), np.array([0.0, 1.0, 2.0])):
        model = SoftmaxRegression().fit(X, classes[y])
        np.testing.assert_array_equal(model.classes_, classes)
        np.testing.assert_array_equal(model.coef_, numbers.coef_)
        np.testing.assert_array_equal(model.predict(X), classes[numbers.predict(X)])
    model = SoftmaxRegression().fit(X, y > 1)
    assert model.predict(X).dtype == bool


HALVES = {
    "numpy": lambda X: X,
    "fortran": np.asfortranarray,
    "pandas": lambda X: pandas.DataFrame(X, columns=list("abcdef")),
    "pandas with bytes": lambda X: pandas.DataFrame(X, columns=list("abcdef")).assign(
        dtype=np.arange(len(X), dtype=np.uint8)
    ),
    "pandas of two widths": lambda X: pandas.DataFrame(X).astype({0: np.float32}),
}
if hasattr(polars, "Float16"):
    HALVES |= {
        "polars": lambda X: polars.DataFrame(X.astype(np.float32)).cast(polars.Float16),
        "polars of two widths": lambda X: polars.DataFrame(X.astype(np.float32)).cast({"column_0": polars.Float16}),
    }


@pytest.mark.parametrize("layout", HALVES)
@pytest.mark.parametrize("estimator", [SoftmaxRegression, SoftmaxRegressionCV, SoftmaxSGDClassifier])
def test_half_precision_is_fitted_in_single(rng, layout, estimator):
    X, y = problem(rng)
    half = HALVES[layout](X.astype(np.float16))
    single = np.asarray(half).astype(np.float32)
    options = {"random_state": 0} if estimator is SoftmaxSGDClassifier else {}
    a, b = estimator(**options).fit(half, y), estimator(**options).fit(single, y)
    for name in ("coef_", "intercept_"):
        assert getattr(a, name).dtype == np.float32
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    for name in ("decision_function", "predict_proba", "predict_log_proba"):
        got = getattr(a, name)(half)
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, getattr(b, name)(single))
    np.testing.assert_array_equal(a.predict(half), b.predict(single))
    assert a.to_model().coef.dtype == np.float32


def test_half_precision_in_partial_fit_and_paths(rng):
    X, y = problem(rng)
    half, single = X.astype(np.float16), X.astype(np.float16).astype(np.float32)
    found = path(half, y, Cs=2)
    assert found.coefs.dtype == np.float32
    np.testing.assert_array_equal(found.coefs, path(single, y, Cs=2).coefs)
    a, b = (SoftmaxSGDClassifier(random_state=0).partial_fit(Z, y, np.arange(4)) for Z in (half, single))
    assert a.coef_.dtype == np.float32
    np.testing.assert_array_equal(a.coef_, b.coef_)
    half[3, 2] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        SoftmaxRegression().fit(half, y)


def test_wide_frames_stay_wide(rng):
    X, y = problem(rng)
    for frame in (pandas.DataFrame(X), polars.DataFrame(X), pandas.DataFrame(X).astype({0: np.float16})):
        assert SoftmaxRegression().fit(frame, y).coef_.dtype == np.float64


def test_class_weight(rng):
    X, y = problem(rng)
    weights = {0: 2.0, 1: 0.5, 2: 1.0, 3: 3.0}
    a = SoftmaxRegression(tol=1e-9, class_weight=weights).fit(X, y)
    b = SoftmaxRegression(tol=1e-9).fit(X, y, np.array([weights[k] for k in y]))
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-8)
    ours = SoftmaxRegression(tol=1e-9, class_weight="balanced").fit(X, y)
    theirs = LogisticRegression(tol=1e-9, class_weight="balanced", max_iter=10000).fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-5)


@pytest.mark.parametrize("estimator", [SoftmaxRegression, SoftmaxRegressionCV, SoftmaxSGDClassifier])
def test_what_is_wrong_is_what_is_blamed(rng, estimator):
    """A class weight, not a sample weight; and labels of several classes a row, not probabilities."""
    X, y = problem(rng)
    for wrong, message in (
        (-1, "class_weight must be 4 finite numbers that are not negative, got -1"),
        (np.nan, "class_weight must be 4 finite numbers that are not negative, got nan"),
        (np.inf, "class_weight must be 4 finite numbers that are not negative, got inf"),
        (1e307, "class_weight is so large that the sum of weights may overflow"),
    ):
        for sample_weight in (None, np.full(len(y), 10.0)):
            with pytest.raises(ValueError, match=message):
                estimator(class_weight={1: wrong}).fit(X, y, sample_weight)
    if estimator is SoftmaxRegressionCV:  # has labels only
        return
    both = np.eye(4)[y] + np.eye(4)[(y + 1) % 4]
    for kind in (int, bool, float):
        with pytest.raises(ValueError, match="multilabel targets are not supported: row 0 of y marks 2 classes"):
            estimator().fit(X, both.astype(kind))


def test_balanced_weights_of_a_class_that_weighs_nothing(rng):
    X, y = problem(rng)
    counts = np.bincount(y, y != 1)
    weights = {k: counts.sum() / (4 * counts[k]) if k != 1 else 0.0 for k in range(4)}
    a = SoftmaxRegression(class_weight="balanced").fit(X, y, (y != 1) * 1.0)
    b = SoftmaxRegression(class_weight=weights).fit(X, y)
    np.testing.assert_allclose(a.coef_, b.coef_, atol=1e-8)


def test_warm_start(rng):
    X, y = problem(rng)
    model = SoftmaxRegression(warm_start=True, solver="lbfgs", tol=1e-8).fit(X, y)
    cold = model.n_iter_[0]
    coef = model.coef_.copy()
    assert model.fit(X, y).n_iter_[0] < cold
    np.testing.assert_allclose(model.coef_, coef, atol=1e-7)
    with pytest.raises(ValueError, match="warm_start"):
        model.fit(X[:, :3], y)


BAD = [
    ({"dual": True}, "dual=False"),
    ({"intercept_scaling": 2.0}, "intercept_scaling"),
    ({"solver": "liblinear"}, "intercept"),
    ({"solver": "lbfgs", "l1_ratio": 1.0}, "supports only 'l2' or None penalties"),
    ({"solver": "newton", "l1_ratio": 0.5}, "supports only 'l2' or None penalties"),
    ({"C": 0.0}, "'C' parameter"),
    ({"C": -1}, "'C' parameter"),
    ({"tol": -1.0}, "'tol' parameter"),
    ({"max_iter": -1}, "'max_iter' parameter"),
    ({"label_smoothing": 1.5}, "'label_smoothing' parameter"),
    ({"solver": "nonsense"}, "'solver' parameter"),
    ({"class_weight": "unfair"}, "'class_weight' parameter"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_parameters_change_nothing(rng, options, message):
    X, y = problem(rng)
    model = SoftmaxRegression().fit(X, y)
    coef, seen = model.coef_, set(vars(model))
    with pytest.raises(ValueError, match=message):
        model.set_params(**options).fit(X, y)
    assert model.coef_ is coef
    assert set(vars(model)) == seen


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: (X * np.nan, y, None), "NaN"),
        (lambda X, y: (np.where(X[3, 1] == X, np.inf, X), y, None), "infinity"),
        (lambda X, y: (X, y * 0, None), "at least 2 classes"),
        (lambda X, y: (X[:0], y[:0], None), "0 sample"),
        (lambda X, y: (X, y[:-1], None), "inconsistent"),
        (lambda X, y: (X, y, -np.ones(len(y))), "[Nn]egative"),
        (lambda X, y: (X, y, np.zeros(len(y))), "at least one non-zero|all weights are 0"),
        (lambda X, y: (X, y + 0.5, None), "Unknown label type"),
    ],
)
def test_bad_data(rng, change, message):
    X, y, weight = change(*problem(rng))
    with pytest.raises(ValueError, match=message):
        SoftmaxRegression().fit(X, y, weight)


def test_deprecated_parameters_warn_as_in_scikit_learn(rng):
    X, y = problem(rng)
    with pytest.warns(FutureWarning, match="'penalty' was deprecated"):
        a = SoftmaxRegression("l1", l1_ratio=1.0).fit(X, y)
    np.testing.assert_array_equal(a.coef_, SoftmaxRegression(l1_ratio=1.0).fit(X, y).coef_)
    with pytest.warns(FutureWarning, match="n_jobs"):
        SoftmaxRegression(n_jobs=1).fit(X, y)
    none = SoftmaxRegression(None, C=2.0, tol=1e-8)
    with pytest.warns((UserWarning, FutureWarning), match="ignore the C|deprecated"):
        b = none.fit(X, y)
    np.testing.assert_array_equal(b.coef_, SoftmaxRegression(C=np.inf, tol=1e-8).fit(X, y).coef_)


def test_a_drop_in(rng):
    """Pipeline, grid search, calibration, frames, set_output, clone, pickle, routing."""
    X, y = load_wine(return_X_y=True, as_frame=True)
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), SoftmaxRegression())
    assert pipeline.fit(X, y).score(X, y) > 0.98
    assert pipeline[-1].feature_names_in_.tolist() == list(X.columns)
    with pytest.raises(ValueError, match="feature names"):
        pipeline[-1].fit(X, y).predict(X[X.columns[::-1]])
    search = GridSearchCV(SoftmaxRegression(), {"C": [0.1, 1.0]}, cv=3).fit(StandardScaler().fit_transform(X), y)
    assert search.best_score_ > 0.95
    assert CalibratedClassifierCV(SoftmaxRegression(standardize=True), cv=3).fit(X, y).score(X, y) > 0.9
    frame = polars.DataFrame(X.to_numpy(), schema=list(X.columns))
    a, b = SoftmaxRegression(standardize=True).fit(frame, y), SoftmaxRegression(standardize=True).fit(X, y)
    np.testing.assert_array_equal(a.coef_, b.coef_)
    theirs = LogisticRegression(max_iter=1000).fit(frame / 100, y)  # scikit-learn 1.8 knows no names of polars
    assert list(getattr(a, "feature_names_in_", [])) == list(getattr(theirs, "feature_names_in_", []))
    again = pickle.loads(pickle.dumps(clone(a).fit(X, y)))
    np.testing.assert_array_equal(again.predict_proba(X), a.predict_proba(frame))
    np.testing.assert_allclose(np.exp(a.predict_log_proba(X)), a.predict_proba(X), rtol=1e-12)
    assert isinstance(pandas.DataFrame(a.coef_), pandas.DataFrame)
    dense = a.predict_proba(X)
    np.testing.assert_allclose(a.sparsify().predict_proba(X), dense)
    np.testing.assert_allclose(a.densify().predict_proba(X), dense)


def test_to_model(rng):
    for c in (2, 3):
        X, y = problem(rng, c=c)
        names = np.array(["a", "b", "c"])[y]
        estimator = SoftmaxRegression().fit(X, names)
        model = estimator.to_model()
        assert model.coef.shape == (c, 6)
        np.testing.assert_allclose(model.predict_proba(X), estimator.predict_proba(X), atol=1e-12)
        np.testing.assert_array_equal(model.predict(X), estimator.predict(X))


def test_verbose_logs_and_leaves_the_logger_alone(rng, capsys):
    X, y = problem(rng)
    SoftmaxRegression(verbose=2).fit(X, y)
    text = capsys.readouterr().err
    assert "solver" in text
    assert "iteration 1" in text
    SoftmaxRegression().fit(X, y)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("patience", [0.0, 60.0])
def test_a_long_fit_has_a_line_of_progress(rng, capsys, monkeypatch, patience):
    monkeypatch.setattr("fastsoftmax.estimators.progress.PATIENCE", patience)
    monkeypatch.setattr("fastsoftmax.estimators.progress.EVERY", 0.0)
    X, y = problem(rng)
    plain = SoftmaxRegression(tol=1e-8).fit(X, y)
    for _ in range(2):
        shown = SoftmaxRegression(tol=1e-8, verbose=1).fit(X, y)
        text = capsys.readouterr().err
        assert shown.coef_.tobytes() == plain.coef_.tobytes()
        assert ("gap" in text and "iteration" in text) == (patience == 0)
        assert "\n" not in text  # one line, which is wiped out in the end
    assert capsys.readouterr().err == ""


FIT = """
import sys, hashlib, numpy as np, scipy.sparse as sp
import fastsoftmax as fs
from fastsoftmax import SoftmaxRegression
fs.set_num_threads(int(sys.argv[1]))
X, y, _, _ = fs.datasets.load_mnist()
digest = hashlib.sha256()
for data, options in ((X[:3000], {}), ((X[:2000] / 255).astype(np.float32), {"C": 0.1}), (sp.csr_matrix(X[:1000]), {}),
                      (X[:500] / 255, {"l1_ratio": 1.0, "C": 0.1}), (X[:100, 300:320] / 255.0, {})):
    model = SoftmaxRegression(tol=1e-3, **options).fit(data, y[: data.shape[0]])
    digest.update(model.coef_.tobytes() + model.intercept_.tobytes())
print(digest.hexdigest())
"""


@pytest.mark.skipif(not JIT, reason="with the JIT off there is one thread, and 3000 images take minutes")
def test_the_same_bytes_on_any_number_of_threads(run_python):
    seen = {
        run_python(FIT, args=(str(ours),), NUMBA_NUM_THREADS=3, OPENBLAS_NUM_THREADS=theirs)
        for ours, theirs in ((1, 1), (2, 2), (3, 1), (2, 1))
    }
    assert len(seen) == 1, seen


def test_many_classes(rng):
    """More classes than the whole Hessian and class blocks are meant for."""
    X, y = problem(rng, n=600, m=20, c=100)
    model = SoftmaxRegression(tol=1e-6).fit(X.astype(np.float32), y)
    assert model.converged_
    theirs = LogisticRegression(tol=1e-8, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(model.coef_, theirs.coef_, atol=1e-3)


def test_iris_and_low_rank(rng):
    X, y = load_iris(return_X_y=True)
    assert SoftmaxRegression().fit(X, y).score(X, y) > 0.96
    X, y = make_classification(300, 50, n_informative=5, n_redundant=40, n_classes=3, random_state=0)
    model = SoftmaxRegression(tol=1e-7).fit(X, y)
    theirs = LogisticRegression(tol=1e-10, max_iter=20000).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), theirs.predict_proba(X), atol=1e-4)
