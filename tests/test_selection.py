"""Many fits: paths and cross-validation, against single fits and scikit-learn."""

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import GroupKFold, StratifiedKFold

import fastsoftmax as fs
from fastsoftmax import SoftmaxRegression, SoftmaxRegressionCV


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


def test_a_path_starts_warm(rng):
    X, y = load_digits(return_X_y=True)
    Cs = np.logspace(-4, -3, 6)
    warm = fs.path(X, y, Cs=Cs).n_iter
    cold = [SoftmaxRegression(C=C).fit(X, y).n_iter_[0] for C in Cs]
    assert warm[1:].sum() < sum(cold[1:])


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_validation_agrees_with_scikit_learn(rng, binary, weighted):
    X, y = load_iris(return_X_y=True)
    y = (y == 1).astype(int) if binary else y
    weight = rng.random(len(y)) if weighted else None
    Cs, cv = [1e-3, 1e-1, 10.0], StratifiedKFold(3, shuffle=True, random_state=0)
    ours = SoftmaxRegressionCV(Cs=Cs, cv=cv, scoring="neg_log_loss", tol=1e-7).fit(X, y, weight)
    theirs = LogisticRegressionCV(
        Cs=Cs, cv=cv, scoring="neg_log_loss", tol=1e-8, max_iter=10000, l1_ratios=(0.0,), use_legacy_attributes=False
    ).fit(X, y, weight)
    assert ours.scores_.shape == (3, 1, 3)
    assert ours.coefs_paths_.shape == (3, 1, 3, 1 if binary else 3, 5)
    np.testing.assert_allclose(ours.coefs_paths_, theirs.coefs_paths_, atol=2e-2)
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-3)
    np.testing.assert_allclose(ours.scores_[:, 0], np.squeeze(theirs.scores_), rtol=1e-3, atol=1e-4)
    assert ours.C_ == theirs.C_
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-2)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)


def test_options_of_cross_validation(rng):
    X, y = load_iris(return_X_y=True)
    model = SoftmaxRegressionCV(Cs=3, cv=3, l1_ratios=(0.0, 0.5, 1.0), scoring="accuracy").fit(X, y)
    assert model.scores_.shape == (3, 3, 3)
    assert model.l1_ratio_ in (0.0, 0.5, 1.0)
    np.testing.assert_allclose(model.Cs_, [1e-4, 1.0, 1e4])
    mean = SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3, refit=False).fit(X, y)
    assert 0.1 <= mean.C_ <= 1.0
    assert mean.score(X, y) > 0.9
    groups = np.arange(150) % 5
    SoftmaxRegressionCV(Cs=[1.0], cv=GroupKFold(5)).fit(X, y, groups=groups)
    sparse = SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3).fit(scipy.sparse.csr_matrix(X), y)
    dense = SoftmaxRegressionCV(Cs=[0.1, 1.0], cv=3).fit(X, y)
    np.testing.assert_allclose(sparse.coef_, dense.coef_, atol=2e-2)
    names = np.array(["a", "b", "c"])[y]
    assert SoftmaxRegressionCV(Cs=[1.0], cv=3).fit(X, names).predict(X[:1])[0] == "a"
    balanced = SoftmaxRegressionCV(Cs=[1.0], cv=3, class_weight="balanced", tol=1e-7).fit(X[:120], y[:120])
    single = SoftmaxRegression(class_weight="balanced", tol=1e-7).fit(X[:120], y[:120])
    np.testing.assert_allclose(balanced.coef_, single.coef_, atol=1e-5)
    assert mean.to_model().predict(X[:1])[0] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"Cs": [0.0]}, "positive"),
        ({"Cs": []}, "positive"),
        ({"l1_ratios": [2.0]}, "l1_ratios"),
        ({"l1_ratios": [1.0], "solver": "lbfgs"}, "supports only"),
        ({"cv": [(np.arange(50), np.arange(50, 150))]}, "no row of the classes"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxRegressionCV(**options).fit(*load_iris(return_X_y=True))


def test_a_path_that_does_not_converge_says_so():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(ConvergenceWarning, match="1 of 1 fits"):
        found = fs.path(X, y, Cs=[1.0], max_iter=1, solver="lbfgs")
    assert not found.converged[0]
    with pytest.raises(TypeError, match="it has no C"):
        fs.path(X, y, C=1.0)
    with pytest.warns(ConvergenceWarning):
        SoftmaxRegressionCV(Cs=[1.0], cv=3, max_iter=1, solver="lbfgs").fit(X, y)
