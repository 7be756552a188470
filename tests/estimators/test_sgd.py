"""SoftmaxSGDClassifier: the trainer's results, pieces that come one after another, weights in expectation."""

import pickle

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning

from fastsoftmax import Parts, SoftmaxRegression, SoftmaxSGDClassifier, Trainer


def test_it_is_the_trainer(rng):
    """With a rate of its own, the same weights; for two classes their difference."""
    X, y = load_iris(return_X_y=True)
    for labels in (y, y == 1):
        seed = int(np.random.RandomState(3).randint(2**31 - 1))
        options = {"batch_size": 32, "learning_rate": 0.01, "schedule": "constant", "momentum": 0.5}
        model = SoftmaxSGDClassifier(max_epochs=4, tol=None, l2=0.01, random_state=3, **options).fit(X, labels)
        l2 = 0.01 if len(set(labels)) > 2 else 0.02  # of two rows, w and -w halved
        other = Trainer(4, l2=l2, seed=seed, **options).fit(X, labels)
        coef = other.coef if len(other.coef) > 2 else other.coef[1:] - other.coef[:1]
        np.testing.assert_array_equal(model.coef_, coef)
        assert model.n_iter_ == 4
        assert model.t_ == 4 * 5
        assert len(model.history_) == 4


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("sparse", [False, True])
def test_partial_fit_goes_on_where_fit_would(optimizer, sparse):
    """Epochs one by one, unshuffled, are epochs at once: weights, moments, steps and averages carry over."""
    X, y = load_digits(return_X_y=True)
    X = scipy.sparse.csr_matrix(X) if sparse else X
    options = {"optimizer": optimizer, "shuffle": False, "tol": None, "random_state": 0, "average": True}
    options |= {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    whole = SoftmaxSGDClassifier(max_epochs=3, **options).fit(X, y)
    piece = SoftmaxSGDClassifier(**options)
    for i in range(3):
        piece.partial_fit(X, y, classes=np.arange(10) if i == 0 else None)
        piece = pickle.loads(pickle.dumps(piece))
    np.testing.assert_allclose(piece.coef_, whole.coef_, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(piece.intercept_, whole.intercept_, rtol=1e-12, atol=1e-14)
    assert piece.t_ == whole.t_


def test_partial_fit_of_pieces_of_any_layout():
    X, y = load_digits(return_X_y=True)
    model = SoftmaxSGDClassifier(random_state=0)
    for epoch in range(10):
        for start in range(0, 1797, 600):
            part = X[start : start + 600]
            part = scipy.sparse.csr_array(part) if (epoch + start) % 2 else part
            model.partial_fit(part, y[start : start + 600], classes=np.arange(10))
    assert model.score(X, y) > 0.93
    with pytest.raises(ValueError, match="did not name"):
        model.partial_fit(X, y + 5)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :3], y)
    with pytest.raises(ValueError, match="classes"):
        model.partial_fit(X, y, classes=[0, 1])


def test_partial_fit_refuses_what_needs_all_data():
    X, y = load_iris(return_X_y=True)
    for options, message in (({"schedule": "cosine"}, "schedule"), ({"class_weight": "balanced"}, "balanced")):
        with pytest.raises(ValueError, match=message):
            SoftmaxSGDClassifier(**options).partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="classes must be passed"):
        SoftmaxSGDClassifier().partial_fit(X, y)


def test_weights_and_copies_mean_the_same_in_expectation(rng):
    """Full batches are free of chance: a row of weight 2 is that row twice, to the last step."""
    X, y = load_iris(return_X_y=True)
    weight = rng.integers(0, 3, len(y)).astype(float)
    options = {"batch_size": 10**6, "learning_rate": 0.05, "tol": None, "max_epochs": 20, "random_state": 0}
    a = SoftmaxSGDClassifier(**options).fit(X, y, weight)
    rows = np.repeat(np.arange(len(y)), weight.astype(int))
    b = SoftmaxSGDClassifier(**options).fit(X[rows], y[rows])
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-9)


def test_defaults_are_good():
    """Near the optimum of the same penalty, whatever the scale of the features."""
    X, y = load_digits(return_X_y=True)
    for scale in (1.0, 1e-3, 1e3):
        model = SoftmaxSGDClassifier(l2=1e-4 * scale**2, random_state=0).fit(X * scale, y)
        assert model.score(X * scale, y) > 0.95
    assert SoftmaxRegression().fit(X, y).score(X, y) > 0.98


def test_settings_may_change_between_calls():
    """Moments that were not there begin at 0; a rate is taken as it is; rates and scales go together."""
    X, y = load_digits(return_X_y=True)
    for change in ({"optimizer": "adam"}, {"momentum": 0.9}, {"average": True}, {"learning_rate": 1e-3}):
        model = SoftmaxSGDClassifier(max_epochs=3, warm_start=True, tol=None, random_state=0).fit(X, y)
        before = model.history_[-1]["loss"]
        assert model.set_params(**change).fit(X, y).history_[-1]["loss"] < before
    assert model.history_[-1]["learning_rate"] <= 1e-3
    with pytest.raises(ValueError, match="features"):
        model.fit(X[:, :9], y)


def test_averaging_begins_in_pieces_too():
    X, y = load_iris(return_X_y=True)
    options = {"average": 2, "shuffle": False, "tol": None, "random_state": 0}
    whole = SoftmaxSGDClassifier(max_epochs=4, **options).fit(X, y)
    piece = SoftmaxSGDClassifier(**options)
    for _ in range(4):
        piece.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_allclose(piece.coef_, whole.coef_, rtol=1e-12)


def test_a_refused_first_call_leaves_nothing():
    X, y = load_iris(return_X_y=True)
    model = SoftmaxSGDClassifier()
    for bad in (X * np.nan, X[:, :0]):
        with pytest.raises(ValueError, match=r"NaN|feature"):
            model.partial_fit(bad, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="did not name"):
        model.partial_fit(X, y, classes=[0, 1])
    assert vars(model) == vars(SoftmaxSGDClassifier())
    model.partial_fit(X, y, classes=[0, 1, 2])
    with pytest.raises(ValueError, match="probabilities of 2 classes"):
        model.partial_fit(X[:, :4], np.full((150, 2), 0.5))


def test_the_penalty_is_that_of_coef(rng):
    """A long run ends near the exact optimum under the same penalty, for two classes too."""
    X, y = load_iris(return_X_y=True)
    X = (X - X.mean(0)) / X.std(0)
    for labels in (y, y == 1):
        exact = SoftmaxRegression(C=1 / (0.05 * len(y)), tol=1e-8).fit(X, labels)
        model = SoftmaxSGDClassifier(
            l2=0.05, batch_size=150, learning_rate=1.0, schedule="constant", max_epochs=3000, tol=None
        ).fit(X, labels)
        np.testing.assert_allclose(model.coef_, exact.coef_, atol=2e-3)


def test_stopping():
    X, y = load_digits(return_X_y=True)
    assert SoftmaxSGDClassifier(max_epochs=500, random_state=0).fit(X, y).n_iter_ < 500
    with pytest.warns(ConvergenceWarning, match="max_epochs"):
        SoftmaxSGDClassifier(max_epochs=2, random_state=0).fit(X, y)
    early = SoftmaxSGDClassifier(max_epochs=300, early_stopping=True, n_iter_no_change=3, random_state=0).fit(X, y)
    assert early.n_iter_ < 300
    assert "validation_accuracy" in early.history_[-1]
    warm = SoftmaxSGDClassifier(max_epochs=2, warm_start=True, tol=None, random_state=0).fit(X, y)
    t = warm.t_
    assert warm.fit(X, y).t_ == 2 * t
    with pytest.raises(ValueError, match="classes must stay"):
        warm.fit(X, y + 1)


def test_a_rate_that_is_too_large_is_named():
    X, y = load_digits(return_X_y=True)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        SoftmaxSGDClassifier(learning_rate=1e300, random_state=0).fit(X, y)


def test_one_part_with_a_row_that_weighs_nothing(rng):
    X, y, weight = rng.standard_normal((50, 3)), np.arange(50) % 3, np.ones(50)
    weight[3] = 0
    for estimator in (SoftmaxSGDClassifier(random_state=0), SoftmaxRegression()):
        found = clone(estimator).fit(Parts([(X, y, weight)]))
        expected = clone(estimator).fit(X, y, weight)
        np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-9)
