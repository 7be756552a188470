"""Cross-validation, against scikit-learn: scores and choices, folds without classes, the search for the peak."""

import numpy as np
import pytest
import scipy.sparse
import sklearn
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import f1_score, log_loss, make_scorer
from sklearn.model_selection import GroupKFold, KFold, LeaveOneOut, StratifiedKFold
from sklearn.preprocessing import scale
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastsoftmax import SoftmaxRegression, SoftmaxRegressionCV
from tests import reference

TELLS_LABELS = not sklearn.__version__.startswith("1.8")  # to scorers, in LogisticRegressionCV
NEW = {"l1_ratios": (0.0,), "use_legacy_attributes": False}


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([SoftmaxRegressionCV(Cs=2, cv=2)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_validation_agrees_with_scikit_learn(rng, binary, weighted):
    X, y = load_iris(return_X_y=True)
    y = (y == 1).astype(int) if binary else y
    weight = rng.random(len(y)) if weighted else None
    Cs, cv = [1e-3, 1e-1, 10.0], StratifiedKFold(3, shuffle=True, random_state=0)
    ours = SoftmaxRegressionCV(Cs=Cs, cv=cv, scoring="neg_log_loss", tol=1e-7).fit(X, y, weight)
    theirs = LogisticRegressionCV(Cs=Cs, cv=cv, scoring="neg_log_loss", tol=1e-8, max_iter=10000, **NEW).fit(
        X, y, weight
    )
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
        ({"l1_ratios": []}, "l1_ratios"),
        ({"dual": True}, "dual=False"),
        ({"intercept_scaling": 2.0}, "intercept_scaling must be 1"),
        ({"solver": "liblinear"}, "liblinear"),
        ({"penalty": "none"}, "penalty"),
        ({"n_jobs": "many"}, "n_jobs"),
        ({"random_state": "some"}, "random_state"),
        ({"use_legacy_attributes": "warn"}, "use_legacy_attributes"),
        ({"search": "random"}, "search"),
        ({"search": "peak", "Cs": [1.0]}, "two or more finite"),
        ({"scoring": lambda *_: np.nan}, "nan for every strength"),
        ({"scoring": lambda *_: np.nan, "refit": False}, "nan for every strength"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        SoftmaxRegressionCV(**options).fit(*load_iris(return_X_y=True))


def test_fits_that_do_not_converge_say_so():
    with pytest.warns(ConvergenceWarning) as record:
        model = SoftmaxRegressionCV(Cs=[1.0], cv=3, max_iter=1, solver="lbfgs").fit(*load_iris(return_X_y=True))
    assert not model.converged_
    assert any("3 of 3 fits" in str(warning.message) for warning in record)


@pytest.mark.parametrize("scoring", ["accuracy", "neg_log_loss", "f1_macro", "roc_auc_ovr"])
@pytest.mark.parametrize("load", [load_iris, load_wine, load_digits])
def test_scores_and_choices_agree_with_scikit_learn(load, scoring):
    X, y = load(return_X_y=True)
    X, y = scale(X[::3]), y[::3]
    options = {"Cs": np.logspace(-3, 1, 5), "cv": StratifiedKFold(3), "scoring": scoring}
    ours = SoftmaxRegressionCV(tol=1e-7, **options).fit(X, y)
    theirs = LogisticRegressionCV(tol=1e-8, max_iter=10000, **options, **NEW).fit(X, y)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=2e-3, atol=1e-4)
    assert (ours.C_, ours.l1_ratio_) == (theirs.C_, theirs.l1_ratio_)
    np.testing.assert_allclose(ours.score(X, y), theirs.score(X, y), rtol=1e-3)


def lacking(kind):
    """X, y and a splitter, some of whose folds lack classes."""
    X, y = load_iris(return_X_y=True)
    if kind == "one member":
        return X, np.append(y[:-1], 3), 5
    if kind == "sorted":
        return X, y, KFold(3)
    if kind == "leave one out":
        return X[40:101:6], np.append(y[40:100:6], 2), LeaveOneOut()
    if kind == "binary":
        return X[:101:10], (np.arange(11) >= 10) * 1, LeaveOneOut()
    return X[:100], np.array(["no", "yes"])[y[:100]], KFold(2)  # one class a fold


KINDS = ["one member", "sorted", "leave one out", "binary", "one class"]
fewest = pytest.mark.filterwarnings("ignore:The least populated class:UserWarning")


@fewest
@pytest.mark.parametrize("kind", KINDS)
def test_folds_without_a_class_agree_with_scikit_learn(kind):
    X, y, cv = lacking(kind)
    Cs = [1e-2, 1.0]
    ours = SoftmaxRegressionCV(Cs=Cs, cv=cv, tol=1e-6).fit(X, y)
    theirs = LogisticRegressionCV(Cs=Cs, cv=cv, scoring="accuracy", max_iter=5000, tol=1e-6, **NEW).fit(X, y)
    np.testing.assert_array_equal(ours.scores_, theirs.scores_)
    assert ours.C_ == theirs.C_
    assert ours.converged_
    assert ours.coefs_paths_.shape == theirs.coefs_paths_.shape
    np.testing.assert_allclose(ours.coefs_paths_[..., :-1], theirs.coefs_paths_[..., :-1], atol=1e-2)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-2)
    assert (ours.predict(X) == theirs.predict(X)).all()
    ours.set_params(refit=False).fit(X, y)
    each = theirs.scores_[:, 0].argmax(1)
    np.testing.assert_allclose(ours.C_, np.mean(np.array(Cs)[each]))
    mean = theirs.coefs_paths_[np.arange(len(each)), 0, each].mean(0)
    np.testing.assert_allclose(ours.coef_, mean[:, :-1], atol=1e-2)


@fewest
@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_a_fold_lacks_cost_next_to_nothing(kind):
    X, y, cv = lacking(kind)
    model = SoftmaxRegressionCV(Cs=[1e-2, 1.0], cv=cv, tol=1e-6, scoring="neg_log_loss").fit(X, y)
    codes = np.searchsorted(model.classes_, y)
    c, found = len(model.classes_), 0
    splits = (StratifiedKFold(cv) if cv == 5 else cv).split(X, y)
    for (train, test), scores, paths in zip(splits, model.scores_[:, 0], model.coefs_paths_[:, 0], strict=True):
        missing = np.setdiff1d(np.arange(c), codes[train])
        found += len(missing)
        for score, rows in zip(scores, paths, strict=True):
            full = np.concatenate([np.zeros_like(rows), rows]) if c == 2 else rows
            logits = X @ full[:, :-1].T + full[:, -1]
            log_chances = reference.log_softmax(logits)
            np.testing.assert_allclose(score, log_chances[test, codes[test]].mean(), rtol=1e-9)
            assert np.exp(log_chances[train][:, missing]).sum(1).mean() < 1e-6
            if c > 2:
                assert (full[missing, :-1] == 0).all()
            assert np.isfinite(full).all()
    assert found


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 20.0, 1e3])
def test_folds_without_a_class_converge_for_features_of_any_size(factor, binary):
    X, y = load_iris(return_X_y=True)
    y = (y == 2) * 1 if binary else y
    Cs = np.array([1e-4, 1.0]) / factor**2  # the same fits but for the units
    assert SoftmaxRegressionCV(Cs=Cs, cv=KFold(3)).fit(X * factor, y).converged_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.skipif(not TELLS_LABELS, reason="scikit-learn 1.8 tells scorers of no labels")
@pytest.mark.parametrize("scoring", ["neg_log_loss", "f1_macro", "neg_brier_score", "top_k_accuracy"])
def test_scorers_are_told_of_classes_that_a_test_fold_lacks(scoring):
    X, y = load_iris(return_X_y=True)
    some = np.arange(len(y)) % 5 == 0
    cv = [(np.flatnonzero(some), np.flatnonzero(~some & (y != k))) for k in range(3)]
    options = {"Cs": [1e-2, 1.0], "cv": cv, "scoring": scoring}
    ours = SoftmaxRegressionCV(tol=1e-7, **options).fit(X, y)
    theirs = LogisticRegressionCV(tol=1e-8, max_iter=10000, **options, **NEW).fit(X, y)
    np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-3)
    assert ours.C_ == theirs.C_


def test_scorers_of_every_kind():
    X, y = load_iris(return_X_y=True)
    names = np.array(["other", "virginica"])[(y == 2) * 1]
    options = {"Cs": [1e-2, 1.0], "cv": KFold(3, shuffle=True, random_state=0)}
    by_name = SoftmaxRegressionCV(scoring="f1", **options).fit(X, names)  # of classes_[1]
    by_code = SoftmaxRegressionCV(scoring="f1", **options).fit(X, (y == 2) * 1)
    np.testing.assert_array_equal(by_name.scores_, by_code.scores_)
    assert by_name.score(X, names) == f1_score(names, by_name.predict(X), pos_label="virginica")
    own = make_scorer(f1_score, pos_label="other")  # what a scorer has of its own stays
    assert SoftmaxRegressionCV(scoring=own, **options).fit(X, names).score(X, names) == f1_score(
        names, by_name.predict(X), pos_label="other"
    )
    plain = SoftmaxRegressionCV(scoring=lambda model, X, y: -log_loss(y, model.predict_proba(X)), **options).fit(X, y)
    named = SoftmaxRegressionCV(scoring="neg_log_loss", **options).fit(X, y)
    np.testing.assert_allclose(plain.scores_, named.scores_, rtol=1e-12)
    lacks = y != 1
    expected = -log_loss(y[lacks], named.predict_proba(X[lacks]), labels=[0, 1, 2])
    np.testing.assert_allclose(named.score(X[lacks], y[lacks]), expected, rtol=1e-12)


def test_scorers_are_called_once_a_fold_and_strength_in_order():
    calls = []

    def score(model, X, y):
        calls.append((len(y), model.l1_ratio, model.C))
        return float(len(calls) % 6 == 5)

    X, y = load_iris(return_X_y=True)
    cv = [(np.arange(0, 150, 2), np.arange(1, 150, 2)), (np.arange(1, 150, 2), np.arange(0, 100, 2))]
    model = SoftmaxRegressionCV(Cs=[1.0, 0.1, 0.5], l1_ratios=(0.0, 1.0), cv=cv, scoring=score).fit(X, y)
    assert calls == [(n, q, C) for n in (75, 50) for q in (0.0, 1.0) for C in (1.0, 0.1, 0.5)]
    assert (model.C_, model.l1_ratio_) == (0.1, 1.0)


def test_folds_that_lack_different_classes_are_their_single_fits():
    X, y = load_digits(return_X_y=True)
    order = np.argsort(y[:600], kind="stable")
    X, y = X[order], y[order]
    model = SoftmaxRegressionCV(Cs=[1e-3, 1e-2], cv=KFold(5), tol=1e-8).fit(X, y)
    assert model.converged_
    for (train, _), paths in zip(KFold(5).split(X), model.coefs_paths_[:, 0], strict=True):
        present = np.unique(y[train])
        assert len(present) < 10
        for C, rows in zip(model.Cs_, paths, strict=True):
            single = SoftmaxRegression(C=C, tol=1e-8).fit(X[train], y[train])
            np.testing.assert_allclose(rows[present, :-1], single.coef_, atol=1e-4)
            assert (np.delete(rows, present, 0)[:, :-1] == 0).all()


def test_weights_of_folds_without_a_class(rng):
    X, y = load_iris(return_X_y=True)
    weight = rng.random(len(y)) + 0.1
    for class_weight in (None, "balanced", {0: 2.0}):
        options = {"Cs": [1e-2], "cv": KFold(3), "class_weight": class_weight}
        ours = SoftmaxRegressionCV(tol=1e-7, **options).fit(X, y, weight)
        theirs = LogisticRegressionCV(scoring="accuracy", tol=1e-8, max_iter=5000, **options, **NEW)
        theirs.fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(ours.coefs_paths_[..., :-1], theirs.coefs_paths_[..., :-1], atol=1e-2)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-3)


def test_of_equal_scores_the_strongest_penalty_is_best():
    X, y = load_iris(return_X_y=True)
    options = {"Cs": [1.0, 1e-2, 1e-1], "cv": 3, "l1_ratios": (0.5, 0.0), "scoring": lambda *_: 1.0}
    for refit in (True, False):
        model = SoftmaxRegressionCV(refit=refit, **options).fit(X, y)
        np.testing.assert_allclose(model.C_, 1e-2, rtol=1e-12)
        assert model.l1_ratio_ == 0.5


@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize(
    ("scoring", "best_C"),
    [("accuracy", None), ("neg_log_loss", None), (lambda model, *_: -abs(np.log10(model.C) - 0.6), 10**0.625)],
)
def test_the_search_for_the_peak_tries_what_clip_tries(rng, scoring, best_C, refit):
    X, y = rng.standard_normal((90, 3)), rng.integers(0, 3, 90)
    model = SoftmaxRegressionCV(cv=3, search="peak", scoring=scoring, refit=refit).fit(X, y)
    tried, scores = np.log10(model.Cs_), model.scores_.sum(0)[0]
    expected = reference.peak(lambda e: scores[np.abs(tried - e).argmin()])
    np.testing.assert_allclose(model.Cs_, 10.0 ** np.array(expected), rtol=1e-12)
    assert model.scores_.shape == model.n_iter_.shape == (3, 1, len(tried))
    assert model.coefs_paths_.shape == (3, 1, len(tried), 3, 4)
    if best_C is not None:
        np.testing.assert_allclose(model.C_, best_C, rtol=1e-12)
    if refit:
        np.testing.assert_equal(model.C_, model.Cs_[scores.argmax()])


def test_the_search_for_the_peak_goes_around_the_best_of_all_ratios():
    X, y = load_iris(return_X_y=True)

    def score(model, *_):
        return (model.l1_ratio == 1) - abs(np.log10(model.C) - (1 if model.l1_ratio == 1 else -1))

    model = SoftmaxRegressionCV(Cs=[1e-2, 1.0, 100.0], l1_ratios=(0.0, 1.0), cv=3, search="peak", scoring=score)
    model.fit(X, y)
    assert (model.C_, model.l1_ratio_) == (pytest.approx(10.0), 1.0)
    assert model.scores_.shape == (3, 2, len(model.Cs_))


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("refit", [False, True])
@pytest.mark.parametrize("ratios", [(0.0,), None])
@pytest.mark.filterwarnings("ignore:'l1_ratios=None':FutureWarning")
def test_legacy_attributes_have_the_shapes_of_scikit_learn(binary, refit, ratios):
    X, y = load_iris(return_X_y=True)
    y = np.array(["a", "b", "c"])[(y == 1) * 1 if binary else y]
    options = {"Cs": [1e-2, 1.0], "cv": 3, "refit": refit, "l1_ratios": ratios, "use_legacy_attributes": True}
    ours = SoftmaxRegressionCV(tol=1e-7, **options).fit(X, y)
    theirs = LogisticRegressionCV(scoring="accuracy", tol=1e-8, max_iter=10000, **options).fit(X, y)
    for name in ("scores_", "coefs_paths_"):
        one, other = getattr(ours, name), getattr(theirs, name)
        assert list(one) == list(other)
        for key in one:
            np.testing.assert_allclose(one[key], other[key], atol=2e-2)
    assert ours.n_iter_.shape == theirs.n_iter_.shape
    np.testing.assert_allclose(ours.C_, theirs.C_)
    np.testing.assert_allclose(ours.l1_ratio_, [0.0 if ratio is None else ratio for ratio in theirs.l1_ratio_])
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))


def test_legacy_attributes_of_many_ratios():
    X, y = load_iris(return_X_y=True)
    options = {"Cs": [1e-2, 1.0], "cv": 2, "l1_ratios": (0.0, 0.5, 1.0)}
    new = SoftmaxRegressionCV(**options).fit(X, y)
    old = SoftmaxRegressionCV(use_legacy_attributes=True, **options).fit(X, y)
    for k in range(3):
        for f, q, i in np.ndindex(2, 3, 2):
            assert old.scores_[k][f, i, q] == new.scores_[f, q, i]
            np.testing.assert_array_equal(old.coefs_paths_[k][f, i, q], new.coefs_paths_[f, q, i, k])
            assert old.n_iter_[0, f, i, q] == new.n_iter_[f, q, i]


def test_parameters_without_effect_are_accepted():
    X, y = load_iris(return_X_y=True)
    plain = SoftmaxRegressionCV(Cs=[1.0], cv=3).fit(X, y)
    named = {"n_jobs": 2, "random_state": 3, "dual": False, "intercept_scaling": 1.0, "use_legacy_attributes": False}
    np.testing.assert_array_equal(SoftmaxRegressionCV(Cs=[1.0], cv=3, **named).fit(X, y).coef_, plain.coef_)


@pytest.mark.parametrize(
    ("penalty", "ratios", "expected", "warned"),
    [
        ("deprecated", None, [0.0], "l1_ratios=None"),
        ("l1", (0.0,), [1.0], "'penalty' was deprecated"),
        ("l2", None, [0.0], "'penalty' was deprecated"),
        ("elasticnet", (0.2, 0.7), [0.2, 0.7], "'penalty' was deprecated"),
    ],
)
def test_penalty_is_deprecated(penalty, ratios, expected, warned):
    X, y = load_iris(return_X_y=True)
    options = {"Cs": [0.1], "cv": 3}
    with pytest.warns(FutureWarning, match=warned):
        model = SoftmaxRegressionCV(penalty=penalty, l1_ratios=ratios, **options).fit(X, y)
    assert model.l1_ratios_.tolist() == expected
    plain = SoftmaxRegressionCV(l1_ratios=expected, **options).fit(X, y)
    np.testing.assert_array_equal(model.coef_, plain.coef_)


@pytest.mark.filterwarnings("ignore:'penalty' was deprecated:FutureWarning")
def test_penalty_and_ratios_that_contradict_each_other():
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match=r"only used when penalty is 'elasticnet'. Got \(penalty=l1\)"):
        model = SoftmaxRegressionCV(Cs=[0.1], cv=3, penalty="l1", l1_ratios=(0.5,)).fit(X, y)
    assert model.l1_ratio_ == 1.0
    with pytest.raises(ValueError, match="l1_ratios must be a list of numbers"):
        SoftmaxRegressionCV(Cs=[0.1], cv=3, penalty="elasticnet", l1_ratios=None).fit(X, y)
    with pytest.raises(ValueError, match="supports only"):
        SoftmaxRegressionCV(Cs=[0.1], cv=3, penalty="l1", solver="lbfgs").fit(X, y)
