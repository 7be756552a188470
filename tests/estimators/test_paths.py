"""Paths of strengths, against single fits; scores of rows held out, and the search for the best."""

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

import fastsoftmax as fs
from fastsoftmax import SoftmaxRegression
from fastsoftmax.estimators.strengths import Walk
from fastsoftmax.solvers import Outcome
from tests import reference


def halves(rng, load=load_iris):
    X, y = load(return_X_y=True)
    order = rng.permutation(len(y))
    return X[order[::2]], y[order[::2]], X[order[1::2]], y[order[1::2]]


def test_a_path_is_its_single_fits():
    X, y = load_iris(return_X_y=True)
    Cs = [1.0, 1e-2, 10.0]
    for options in ({}, {"l1_ratio": 1.0}, {"standardize": True}, {"solver": "lbfgs"}):
        found = fs.path(X, y, Cs=Cs, tol=1e-9, **options)
        assert found.Cs.tolist() == Cs
        assert found.converged.all()
        assert (found.duality_gap <= 1e-9).all()
        for C, coef, intercept in zip(Cs, found.coefs, found.intercepts, strict=True):
            single = SoftmaxRegression(C=C, tol=1e-9, **options).fit(X, y)
            np.testing.assert_allclose(coef, single.coef_, atol=1e-4)
            np.testing.assert_allclose(intercept, single.intercept_, atol=1e-3)
        assert found.scores.shape == (0,)
        assert found.best_C is found.best_index is found.model is None


def test_a_path_starts_warm():
    X, y = load_digits(return_X_y=True)
    Cs = np.logspace(-4, -3, 6)
    warm = fs.path(X, y, Cs=Cs).n_iter
    cold = [SoftmaxRegression(C=C).fit(X, y).n_iter_[0] for C in Cs]
    assert warm[1:].sum() < sum(cold[1:])


def test_the_default_strengths_are_those_of_scikit_learn():
    X, y = load_iris(return_X_y=True)
    np.testing.assert_allclose(fs.path(X, y).Cs, np.logspace(-4, 4, 10), rtol=1e-12)
    np.testing.assert_allclose(fs.path(X, y, Cs=3).Cs, [1e-4, 1.0, 1e4], rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("binary", [False, True])
def test_scores_of_rows_held_out(rng, binary, weighted):
    X, y, X_val, y_val = halves(rng)
    if binary:
        y, y_val = np.array(["no", "yes"])[(y == 1) * 1], np.array(["no", "yes"])[(y_val == 1) * 1]
    weight = rng.random(len(y_val)) if weighted else None
    Cs = [10.0, 1e-3, 1e-1]
    for scoring in (None, "neg_log_loss"):
        found = fs.path(X, y, Cs=Cs, X_val=X_val, y_val=y_val, sample_weight_val=weight, scoring=scoring)
        codes = np.searchsorted(found.classes, y_val)
        for score, coef, intercept in zip(found.scores, found.coefs, found.intercepts, strict=True):
            logits = X_val @ coef.T + intercept
            logits = np.concatenate([np.zeros_like(logits), logits], 1) if binary else logits
            chances = reference.softmax(logits)
            each = np.log(chances[np.arange(len(codes)), codes]) if scoring else (logits.argmax(1) == codes) * 1.0
            np.testing.assert_allclose(score, np.average(each, weights=weight), rtol=1e-9)
        assert found.best_C == Cs[found.best_index]
        assert found.scores[found.best_index] == found.scores.max()
        assert found.model is None


def test_of_equal_scores_the_strongest_penalty_is_best(rng):
    X, y, X_val, y_val = halves(rng)
    found = fs.path(X, y, Cs=[10.0, 1e-2, 1.0, 1e-2], X_val=X_val, y_val=y_val, scoring=lambda *_: 0.5)
    assert (found.best_C, found.best_index) == (1e-2, 1)
    undefined = [0.5, np.nan, 0.7]
    scores = iter(undefined)
    found = fs.path(X, y, Cs=[1e-2, 1e-1, 1.0], X_val=X_val, y_val=y_val, scoring=lambda *_: next(scores))
    assert found.best_C == 1.0
    np.testing.assert_array_equal(found.scores, undefined)
    with pytest.raises(ValueError, match="nan for every strength"):
        fs.path(X, y, X_val=X_val, y_val=y_val, scoring=lambda *_: np.nan)


@pytest.mark.parametrize(
    ("scoring", "best"),
    [
        ("neg_log_loss", None),
        ("accuracy", None),
        (lambda model, *_: model.C, 6),  # the weaker the better
        (lambda model, *_: -model.C, -6),
        (lambda *_: 0.5, -6),  # equal: the strongest
        (lambda model, *_: -abs(np.log10(model.C) - 2.3), 2.25),
        (lambda model, *_: -abs(np.log10(model.C) + 0.99), -1),
    ],
)
def test_the_search_for_the_peak_tries_what_clip_tries(rng, scoring, best):
    X, y = rng.standard_normal((120, 3)), rng.integers(0, 3, 120)
    found = fs.path(X[:80], y[:80], X_val=X[80:], y_val=y[80:], search="peak", scoring=scoring)
    tried = np.log10(found.Cs)
    expected = reference.peak(lambda e: found.scores[np.abs(tried - e).argmin()])
    np.testing.assert_allclose(found.Cs, 10.0 ** np.array(expected), rtol=1e-12)
    assert 11 <= len(found.Cs) <= 15
    if best is not None:
        np.testing.assert_allclose(np.log10(found.best_C), best, rtol=1e-12)
    assert found.coefs.shape == (len(found.Cs), 3, 3)


def test_what_the_search_for_the_peak_begins_with(rng):
    X, y, X_val, y_val = halves(rng)
    part = {"X_val": X_val, "y_val": y_val, "search": "peak", "scoring": lambda model, *_: model.C}
    for Cs, expected in (
        ([1.0, 1e-2], [-2, 0, -1, -0.5, -0.25, -0.125]),
        ([1.0, 1e-2, 10**-0.5, 1.0], [-2, -0.5, 0, -0.25, -0.125]),  # of uneven distances those to the best count
        (3, [-6, 0, 6, 3, 4.5, 5.25, 5.625, 5.8125, 5.90625]),
    ):
        np.testing.assert_allclose(fs.path(X, y, Cs=Cs, **part).Cs, np.sort(10.0 ** np.array(expected)), rtol=1e-12)


def test_the_search_for_the_peak_starts_warm(rng):
    X, y, X_val, y_val = halves(rng, load_digits)
    part = {"X_val": X_val, "y_val": y_val, "scoring": "neg_log_loss"}
    found = fs.path(X, y, Cs=[1e-4, 1e-2], search="peak", **part)
    late = [C for C in found.Cs if C not in (1e-4, 1e-2)]
    cold = [SoftmaxRegression(C=C).fit(X, y).n_iter_[0] for C in late]
    assert found.n_iter[np.isin(found.Cs, late)].sum() < sum(cold)
    assert found.converged.all()


@pytest.mark.parametrize("kind", ["dense", "sparse", "mixed", "uint8", "soft", "weighted", "validation weighted"])
def test_refit_is_a_fit_of_all_rows(rng, kind):
    X, y, X_val, y_val = halves(rng)
    both, labels, weight = np.concatenate([X, X_val]), np.concatenate([y, y_val]), None
    options = {"Cs": [1e-2, 1.0], "label_smoothing": 0.01}
    if kind in ("sparse", "mixed"):
        X, both = scipy.sparse.csr_array(X), scipy.sparse.csr_array(both)
        X_val = scipy.sparse.csc_matrix(X_val) if kind == "sparse" else X_val
    if kind == "uint8":
        X, X_val, both = (np.round(10 * part).astype(np.uint8) for part in (X, X_val, both))
    if kind == "soft":
        y, labels = np.eye(3)[y] * 0.7 + 0.1, np.concatenate([np.eye(3)[y] * 0.7 + 0.1, np.eye(3)[y_val]])
    if "weighted" in kind:
        name = "sample_weight" if kind == "weighted" else "sample_weight_val"
        some, ones = rng.random(len(y)) + 0.1, np.ones(len(y))
        options[name] = some
        weight = np.concatenate([some, ones] if kind == "weighted" else [ones, some])
    found = fs.path(X, y, X_val=X_val, y_val=y_val, refit=True, **options)
    single = SoftmaxRegression(C=found.best_C, label_smoothing=0.01).fit(both, labels, weight)
    np.testing.assert_array_equal(found.model.coef_, single.coef_)
    np.testing.assert_array_equal(found.model.intercept_, single.intercept_)
    assert found.best_C == found.model.C
    assert found.model.predict(X_val).shape == y_val.shape
    assert found.model.to_model().coef.shape == (3, 4)


def test_names_of_columns_are_kept_and_checked(rng):
    X, y, X_val, y_val = halves(rng)
    named, named_val = pd.DataFrame(X, columns=list("abcd")), pd.DataFrame(X_val, columns=list("abcd"))
    found = fs.path(named, y, Cs=[1.0], X_val=named_val, y_val=y_val, refit=True)
    assert found.model.feature_names_in_.tolist() == list("abcd")
    assert found.model.score(named_val, y_val) > 0.9
    with pytest.raises(ValueError, match="feature names"):
        fs.path(named, y, Cs=[1.0], X_val=named_val[list("bacd")], y_val=y_val)


def test_validation_may_lack_a_class(rng):
    X, y, X_val, y_val = halves(rng)
    X_val, y_val = X_val[y_val < 2], y_val[y_val < 2]
    found = fs.path(X, y, Cs=[1.0], X_val=X_val, y_val=y_val, scoring="neg_log_loss")
    model = SoftmaxRegression().fit(X, y)
    np.testing.assert_allclose(found.scores[0], -log_loss(y_val, model.predict_proba(X_val), labels=[0, 1, 2]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y_val": None}, "X_val and y_val go together"),
        ({"X_val": None}, "X_val and y_val go together"),
        ({"y_val": [0, 1, 3, 4]}, r"classes that y does not have: \[3, 4\]"),
        ({"y_val": ["0", "1", "2", "2"]}, r"classes that y does not have: \['0', '1', '2'\]"),
        ({"y_val": np.eye(3)[[0, 1, 2, 2]]}, r"labels of shape \(n_val,\), got shape \(4, 3\)"),
        ({"y_val": [0, 1]}, "inconsistent numbers of samples"),
        ({"X_val": np.zeros((4, 5))}, "5 features"),
        ({"sample_weight_val": [1.0, -1.0, 1.0, 1.0]}, "(?i)negative"),
        ({"search": "random"}, '"grid" or "peak"'),
        ({"search": "peak", "Cs": [1.0]}, "two or more finite"),
        ({"search": "peak", "Cs": [1.0, np.inf]}, "two or more finite"),
        ({"search": "peak", "Cs": 1}, "two or more finite"),
        ({"Cs": 0}, "positive"),
        ({"Cs": -3}, "positive"),
        ({"Cs": True}, "positive"),
        ({"scoring": "no such"}, "scoring"),
        ({"X_val": None, "y_val": None, "search": "peak", "Cs": None}, "search='peak' needs rows to score"),
        ({"X_val": None, "y_val": None, "refit": True, "scoring": "accuracy"}, "scoring, refit needs rows"),
        ({"X_val": None, "y_val": None, "sample_weight_val": [1.0]}, "sample_weight_val needs rows"),
    ],
)
def test_bad_options(options, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        fs.path(X, y, **{"Cs": [1.0], "X_val": X[[0, 50, 100, 101]], "y_val": [0, 1, 2, 2]} | options)


def test_a_path_that_does_not_converge_says_so():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="1 of 1 fits"):
        found = fs.path(X, y, Cs=[1.0], max_iter=1, solver="lbfgs")
    assert not found.converged[0]
    with pytest.raises(TypeError, match="it has no C"):
        fs.path(X, y, C=1.0)


class Straight:
    """A fit whose outcomes are polynomials in log C, which keeps what it was offered to start from."""

    def __init__(self, *coefficients):
        self.coefficients, self.offered = coefficients, {}

    def theta(self, C):
        return sum(np.log(C) ** k * np.asarray(part, float) for k, part in enumerate(self.coefficients))

    def run(self, C, l1_ratio, starts):
        self.offered[C] = starts
        return Outcome(self.theta(C), np.zeros((1, 1)), np.zeros(1), 1, 0.0, 0.0, 0.0, True, "none")


def test_starts_lie_on_polynomials_in_log_c():
    fit = Straight([1.0, -2.0], [0.5, 0.25], [0.1, 0.0])
    walk = Walk(fit, 0.0)
    for C in (0.01, 0.1, 2.0, 5.0):
        walk.visit(C)
    assert fit.offered[0.01] == []
    assert [len(fit.offered[C]) for C in (0.1, 2.0, 5.0)] == [1, 2, 3]
    np.testing.assert_array_equal(fit.offered[5.0][0], fit.theta(2.0))
    np.testing.assert_allclose(fit.offered[5.0][2], fit.theta(5.0))
    line = Straight([1.0, -2.0], [0.5, 0.25])
    walk = Walk(line, 0.0)
    for C in (0.01, 0.1, 2.0):
        walk.visit(C)
    np.testing.assert_allclose(line.offered[2.0][1], line.theta(2.0))


def test_strengths_that_nearly_coincide():
    """And with l1 there is one start: a polynomial has no weights that are 0."""
    fit = Straight([1.0], [0.5])
    walk = Walk(fit, 0.0)
    for C in (1e10, np.nextafter(1e10, np.inf), 2e10, 3e10):
        walk.visit(C)
    assert {C: len(starts) for C, starts in fit.offered.items()}[3e10] == 1
    walk = Walk(fit, 0.5)
    for C in (1.0, 2.0, 3.0):
        walk.visit(C)
    assert len(fit.offered[3.0]) == 1


def test_starts_are_never_far_from_what_is_known():
    """A strength far beyond the last ones, stronger than all, or none at all."""
    fit = Straight([1.0], [0.5])
    walk = Walk(fit, 0.0)
    for C in (1.0, 1.1, 1e6, 1e-3, np.inf):
        walk.visit(C)
    assert [len(fit.offered[C]) for C in (1.1, 1e6, 1e-3, np.inf)] == [1, 1, 1, 1]
    np.testing.assert_array_equal(fit.offered[1e6][0], fit.theta(1.1))
    np.testing.assert_array_equal(fit.offered[1e-3][0], fit.theta(1.0))
