"""Estimators over parts, and over half precision: what they give over the same rows in float32 in memory."""

import itertools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score

import fastsoftmax as fs
from fastsoftmax.data.gate import BFLOAT16
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.estimators import paths
from fastsoftmax.estimators.rows import reads_as_it_is
from tests.data.test_parts import MAKERS

N, M = 100, 6


@pytest.fixture(name="X")
def rows_of_x(rng):
    return rng.standard_normal((N, M))


@pytest.fixture
def y(X, rng):
    return (X[:, :3] + rng.standard_normal((N, 3))).argmax(1)


def parts_of(*arrays, cuts=(0, 30, 31, N)):
    return fs.Parts([tuple(array[a:b] for array in arrays) for a, b in itertools.pairwise(cuts)])


def assert_alike(ours, theirs, rtol=1e-9, atol=1e-9):
    assert ours.objective_ == pytest.approx(theirs.objective_, rel=1e-9)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol, atol)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol, atol)
    assert ours.coef_.dtype == theirs.coef_.dtype
    assert (ours.converged_, ours.n_features_in_) == (theirs.converged_, theirs.n_features_in_)
    np.testing.assert_array_equal(ours.classes_, theirs.classes_)


# ---- parts


@pytest.mark.parametrize("make", MAKERS)
def test_a_fit_of_parts_is_that_of_the_rows(X, y, tmp_path, make):
    ours, theirs = fs.SoftmaxRegression().fit(make(X, y, tmp_path)), fs.SoftmaxRegression().fit(X, y)
    assert_alike(ours, theirs)
    assert ours.duality_gap_ <= 1e-4
    assert ours.solver_ == theirs.solver_


OPTIONS = [
    {"standardize": True},
    {"l1_ratio": 0.5, "C": 0.3},
    {"l1_ratio": 1.0, "C": 0.3},
    {"class_weight": "balanced", "label_smoothing": 0.1},
    {"class_weight": {0: 1.0, 1: 0.0, 2: 3.0}},  # a class without weight
    {"fit_intercept": False, "solver": "newton"},
    {"solver": "lbfgs", "tol": 1e-7},
    {"C": np.inf, "tol": 1e-6},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", ["dense", "csr"])
@pytest.mark.parametrize("two", [False, True])
def test_every_option(X, y, rng, options, kind, two):
    X = sp.csr_array(X * (rng.random(X.shape) < 0.6)) if kind == "csr" else X
    y = np.array(["no", "yes", "never"])[np.minimum(y, 1) if two else y]
    if isinstance(options.get("class_weight"), dict):
        options = options | {
            "class_weight": dict(zip(["no", "yes", "never"], [1.0, 0.0 if not two else 2.0, 3.0], strict=True))
        }
    s = rng.random(N) * (rng.random(N) < 0.8)
    ours = fs.SoftmaxRegression(**options).fit(parts_of(X, y, s))
    theirs = fs.SoftmaxRegression(**options).fit(X, y, s)
    assert_alike(ours, theirs, 1e-5, 1e-6)
    parts = parts_of(X, y, s)
    np.testing.assert_array_equal(ours.predict(parts), ours.predict(X))
    np.testing.assert_allclose(ours.predict_proba(parts), ours.predict_proba(X), rtol=1e-12)
    np.testing.assert_allclose(ours.predict_log_proba(parts), ours.predict_log_proba(X), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(ours.decision_function(parts), ours.decision_function(X), rtol=1e-10, atol=1e-12)
    assert ours.score(parts) == pytest.approx(accuracy_score(y, ours.predict(X), sample_weight=s))
    assert ours.score(parts_of(X), y, s) == pytest.approx(ours.score(X, y, s))


def test_soft_targets_and_warm_starts(X, rng):
    Y = rng.dirichlet(np.ones(3), N)
    assert_alike(fs.SoftmaxRegression().fit(parts_of(X, Y)), fs.SoftmaxRegression().fit(X, Y))
    model = fs.SoftmaxRegression(warm_start=True).fit(parts_of(X, Y))
    assert model.fit(parts_of(X, Y)).n_iter_[0] == 1


def test_targets_for_all_rows(X, y, rng):
    s = rng.random(N)
    assert_alike(fs.SoftmaxRegression().fit(parts_of(X), y, s), fs.SoftmaxRegression().fit(X, y, s))
    for arguments, message in (
        ((parts_of(X),), "the parts have no y"),
        ((parts_of(X, y), y), "y was given, and the parts have their own"),
        ((parts_of(X), y[:-1]), "inconsistent numbers of samples"),
        ((parts_of(X, y, s), None, s), "sample_weight was given, and the parts"),
        ((parts_of(X), y, -s), "[Nn]egative"),
    ):
        with pytest.raises(ValueError, match=message):
            fs.SoftmaxRegression().fit(*arguments)
    with pytest.raises(ValueError, match="the parts have no y"):
        fs.SoftmaxRegression().fit(X, y).score(parts_of(X))


def test_probabilities_into_a_file(X, y, tmp_path):
    model = fs.SoftmaxRegression().fit(X, y)
    wanted = model.predict_proba(X)
    for source in (parts_of(X), X, X.astype("e"), sp.csr_array(X)):
        out = np.memmap(tmp_path / "p", np.float64, "w+", shape=(N, 3))
        assert model.predict_proba(source, out=out) is out
        np.testing.assert_allclose(
            out, wanted, rtol=1e-12 if source is not None and not hasattr(source, "dtype") else 1e-2
        )
    for shape in ((N - 1, 3), (N + 1, 3), (N, 2)):
        for source in (parts_of(X), X):
            with pytest.raises(ValueError, match="out"):
                model.predict_proba(source, out=np.zeros(shape))


def test_a_refused_fit_changes_nothing(X, y):
    model = fs.SoftmaxRegression().fit(X, y)
    before = dict(vars(model))
    Z = X.copy()
    Z[77, 0] = np.nan
    with pytest.raises(fs.PartError, match=r"part 2: row 46 of X \(row 77 of all\)"):
        model.fit(parts_of(Z, y))
    calls = []

    def failing():
        calls.append(1)
        if len(calls) > 3:
            raise OSError("gone")
        return X, y

    with pytest.raises(fs.PartError, match="part 0 could not be read: OSError: gone"):
        model.fit(fs.Parts([failing]))
    assert vars(model) == before
    with pytest.raises(fs.PartError, match=r"part 2: .*row 46"):
        model.predict(parts_of(Z))


def test_features_are_compared(X, y):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    model = fs.SoftmaxRegression().fit(parts_of(frame, y))
    assert model.feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(model.predict(parts_of(frame)), model.predict(frame))
    with pytest.raises(ValueError, match="the columns of X are not those"):
        model.predict(parts_of(frame[list("abcdfe")]))
    with pytest.raises(ValueError, match="X has 5 features, but SoftmaxRegression is expecting 6"):
        model.predict(parts_of(X[:, :5]))
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        model.predict(parts_of(X))
    assert not hasattr(fs.SoftmaxRegression().fit(parts_of(X, y)), "feature_names_in_")
    with pytest.raises(NotFittedError):
        fs.SoftmaxRegression().predict(parts_of(X))


def test_cross_validation_over_parts(X, y, rng):
    s = rng.random(N) + 0.1
    for options in ({}, {"scoring": "neg_log_loss"}, {"search": "peak", "Cs": [0.01, 1.0]}, {"refit": False}):
        ours = fs.SoftmaxRegressionCV(**({"Cs": 3, "cv": 3} | options)).fit(parts_of(X, y, s))
        theirs = fs.SoftmaxRegressionCV(**({"Cs": 3, "cv": 3} | options)).fit(X, y, s)
        np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-6)
        np.testing.assert_allclose(ours.coefs_paths_, theirs.coefs_paths_, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-5, atol=1e-7)
        assert ours.C_ == theirs.C_
    flags = [(np.arange(N) % 2 == 0, np.arange(N) % 2 == 1)]
    index = [(rng.permutation(N)[:50] * 0 + np.arange(N)[::2][::-1], np.arange(1, N, 2))]
    for cv in (flags, index):
        splits = [tuple(np.flatnonzero(part) if part.dtype == bool else part for part in pair) for pair in cv]
        ours = fs.SoftmaxRegressionCV(Cs=2, cv=cv).fit(parts_of(X, y))
        np.testing.assert_allclose(ours.scores_, fs.SoftmaxRegressionCV(Cs=2, cv=splits).fit(X, y).scores_)


@pytest.mark.parametrize("refit", [False, True])
def test_paths_over_parts(X, y, rng, refit):
    V, v = X[:40] + 0.1, y[:40]
    wanted = fs.path(X, y, Cs=4, X_val=V, y_val=v, refit=refit)
    held = fs.Parts([(V[:10], v[:10]), (V[10:], v[10:])])
    stream = fs.Parts(lambda: iter([(V[:10], v[:10]), (V[10:], v[10:])]))
    for arguments in ((parts_of(X, y), None, held), (parts_of(X, y), None, stream), (X, y, held)):
        found = fs.path(arguments[0], arguments[1], Cs=4, X_val=arguments[2], refit=refit)
        np.testing.assert_allclose(found.coefs, wanted.coefs, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(found.scores, wanted.scores)
        if refit:
            np.testing.assert_allclose(found.model.coef_, wanted.model.coef_, rtol=1e-5, atol=1e-7)


def test_scores_of_parts(X, y, rng):
    model = fs.SoftmaxRegression().fit(X, y)
    s = rng.integers(0, 3, N)
    assert model.score(parts_of(X, y, s)) == pytest.approx(model.score(X, y, s))
    for arguments, message in (
        ((parts_of(X), y[:-1]), "y of shape"),
        ((parts_of(X[:50], cuts=(0, 50)), y), "y has 100 rows, but the parts have 50"),
        ((parts_of(X), y, s[:-1]), "sample_weight must be of shape"),
        ((parts_of(X), y, np.full(N, np.nan)), "finite"),
        ((parts_of(X, y, 0 * s),), "nothing to score"),
        ((fs.Parts([X[:0]]), y[:0]), "nothing to score"),
        ((parts_of(X, y), y), "y was given, and the parts have their own"),
        ((parts_of(X, y.astype(str)),), "labels of <U21, where classes_ are of int64"),
    ):
        with pytest.raises(ValueError, match=message):
            model.score(*arguments)
    for call in (model.predict, model.predict_proba):
        with pytest.raises(ValueError, match=r"0 sample\(s\)"):
            call(fs.Parts([X[:0]]))
        with pytest.raises(ValueError, match="X has 2 features"):
            call(fs.Parts([X[:0, :2], X]))
    with pytest.raises(ValueError, match="score requires y"):
        model.score(X)
    cv = fs.SoftmaxRegressionCV(Cs=2, cv=2, scoring="neg_log_loss").fit(X, y)
    assert cv.score(parts_of(X, y)) == pytest.approx(cv.score(X, y))
    assert cv.score(parts_of(X), y, s) == pytest.approx(cv.score(X, y, s))


def test_what_does_not_go_together_is_said_before_a_path(X, y, monkeypatch):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    found = fs.path(parts_of(frame, y), X_val=frame, y_val=y, Cs=2, refit=True)
    assert found.model.feature_names_in_.tolist() == list("abcdef")
    assert fs.path(parts_of(X.astype("f"), y), X_val=X, y_val=y, Cs=2, refit=True).model.coef_.dtype == np.float32
    monkeypatch.setattr(paths, "explore", lambda *_: pytest.fail("a fit came first"))
    for parts, V in (((X * 9).astype(np.int8), X), (X, sp.csr_array(X))):
        with pytest.raises(fs.PartError, match="the second of two"):
            fs.path(parts_of(parts, y), X_val=V, y_val=y, Cs=2, refit=True)


def test_masks_beside_half_precision(X, y):
    half = X.astype("e")
    for arguments in ((half, np.ma.masked_array(y)), (half, y, np.ma.masked_array(np.ones(N))),
                      (parts_of(X), np.ma.masked_array(y))):  # fmt: skip
        with pytest.raises(TypeError, match="masked"):
            fs.SoftmaxRegression().fit(*arguments)
    with pytest.raises(TypeError, match="sparse"):
        fs.SoftmaxRegression().fit(half, sp.csr_array(y[:, None]))
    with pytest.raises(ValueError, match="1d array"):
        fs.SoftmaxRegression().fit(half, 3)


def test_int8_of_any_format(X, y):
    small = np.round(X * 8).astype(np.int8)
    dtypes = {fs.SoftmaxRegression().fit(Z, y).coef_.dtype for Z in (small, sp.csr_array(small), sp.csc_array(small))}
    assert dtypes == {np.dtype(np.float32)}


def test_one_set_of_bytes(X, y, rng, monkeypatch):
    """Whatever the number of threads, and however slowly parts are read."""
    import time

    from fastsoftmax.engine import threads

    Z, seen = rng.standard_normal((3000, 40)).astype("f"), set()
    labels = rng.integers(0, 30, 3000)

    def slowly(i):
        time.sleep(rng.random() * 0.01)
        return Z[1000 * i : 1000 * i + 1000], labels[1000 * i : 1000 * i + 1000]

    for count in (1, 2):
        monkeypatch.setattr(threads, "_chosen_threads", count)
        for parts in (fs.Parts([lambda i=i: slowly(i) for i in range(3)]), fs.Parts([slowly(i) for i in range(3)])):
            model = fs.SoftmaxRegression(C=0.1).fit(parts)
            seen.add(model.coef_.tobytes() + model.intercept_.tobytes() + np.float64(model.duality_gap_).tobytes())
    assert len(seen) == 1


# ---- half precision


def half(numbers, kind):
    """Numbers that all of these types have, stored so, and in float32."""
    if kind == "bfloat16":
        return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)
    if kind == "ml_dtypes":
        import ml_dtypes

        return numbers.astype(ml_dtypes.bfloat16)
    return numbers.astype(kind)


@pytest.mark.parametrize("kind", ["e", "bfloat16", "ml_dtypes", "b"])
def test_half_precision_is_read_as_it_is(X, y, kind):
    numbers = np.round(X * 8)
    stored, single = half(numbers, kind), numbers.astype(np.float32)
    assert reads_as_it_is(stored)
    ours, theirs = fs.SoftmaxRegression().fit(stored, y), fs.SoftmaxRegression().fit(single, y)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    assert ours.coef_.dtype == np.float32
    assert ours.n_features_in_ == M
    for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        np.testing.assert_array_equal(getattr(ours, name)(stored), getattr(ours, name)(single), err_msg=name)
    assert ours.score(stored, y) == ours.score(single, y)
    with pytest.raises(ValueError, match="X has 5 features, but SoftmaxRegression is expecting 6"):
        ours.predict(stored[:, :5])
    cv = [fs.SoftmaxRegressionCV(Cs=2, cv=3).fit(part, y) for part in (stored, single)]
    np.testing.assert_array_equal(cv[0].scores_, cv[1].scores_)
    np.testing.assert_array_equal(cv[0].coef_, cv[1].coef_)
    paths = [fs.path(part, y, Cs=3, X_val=part[:50], y_val=y[:50], refit=True) for part in (stored, single)]
    np.testing.assert_array_equal(paths[0].coefs, paths[1].coefs)
    np.testing.assert_array_equal(paths[0].model.coef_, paths[1].model.coef_)
    sgd = [fs.SoftmaxSGDClassifier(max_epochs=3, tol=None, random_state=0).fit(part, y) for part in (stored, single)]
    np.testing.assert_array_equal(sgd[0].coef_, sgd[1].coef_)
    for model in sgd:
        model.partial_fit(stored, y)
    np.testing.assert_array_equal(sgd[0].coef_, sgd[1].coef_)


@pytest.mark.parametrize("kind", ["e", "b"])
def test_sparse_half_precision(X, y, kind):
    numbers = np.round(X * 4) * (X > 0)
    single, stored = sp.csr_array(numbers.astype(np.float32)), sp.csr_array(numbers.astype(np.float32))
    stored.data = stored.data.astype(kind)
    ours, theirs = fs.SoftmaxRegression().fit(stored, y), fs.SoftmaxRegression().fit(single, y)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    np.testing.assert_array_equal(ours.predict_proba(stored), theirs.predict_proba(single))


def test_half_precision_that_is_refused(X, y):
    stored = X.astype(np.float16)
    stored[17, 2] = np.inf
    model = fs.SoftmaxRegression().fit(X, y)
    for call in (lambda: fs.SoftmaxRegression().fit(stored, y), lambda: model.predict(stored)):
        with pytest.raises(ValueError, match="Input X contains NaN or infinity, first in row 17"):
            call()
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        model.predict(stored[:0])
    with pytest.raises(ValueError, match="inconsistent numbers"):
        fs.SoftmaxRegression().fit(X.astype("e"), y[:-1])
    with pytest.raises(ValueError, match="requires y to be passed, but the target y is None"):
        fs.SoftmaxRegression().fit(X.astype("e"))
    with pytest.raises(TypeError, match="masked"):
        fs.SoftmaxRegression().fit(np.ma.masked_array(X.astype("e")), y)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    named = fs.SoftmaxRegression().fit(frame, y)
    with pytest.warns(UserWarning, match="valid feature names"):
        named.predict(X.astype("e"))
    assert isinstance(PartedRows(parts_of(X.astype("e"), y)), PartedRows)
